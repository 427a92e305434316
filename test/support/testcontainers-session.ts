/** A session of testcontainers, as a program of its own: it reads where Docker is once, from its environment. */
import { text } from 'node:stream/consumers';
import { GenericContainer, Wait } from 'testcontainers';
import { TEST_IMAGE, TEST_LABEL } from './docker.ts';

/** What it says right at its start Docker may have from before the time that it notes for that, by which logs are asked for. */
const SCRIPT = 'sleep 0.3; echo ready; cat /in/file; trap "echo stopping; exit 0" TERM; sleep 1000 & wait';

function say(what: string, value: unknown): void {
  process.stdout.write(`${what}: ${JSON.stringify(value)}\n`);
}

const container = await new GenericContainer(TEST_IMAGE)
  .withNetworkMode('none')
  .withLabels({ [TEST_LABEL]: '1' })
  .withEnvironment({ SAID: 'by the environment' })
  .withCopyContentToContainer([{ content: 'copied before the start\n', target: '/in/file' }])
  .withCommand(['sh', '-c', SCRIPT])
  .withWaitStrategy(Wait.forLogMessage('copied before the start'))
  .start();
try {
  const { exitCode, stdout, stderr } = await container.exec(['sh', '-c', 'echo err >&2; echo $SAID; exit 3']);
  say('exec', { exitCode, stdout, stderr });
  await container.copyContentToContainer([{ content: 'copied later', target: '/in/later' }]);
  say('later', (await container.exec(['cat', '/in/later'])).stdout);
  const archive = await text(await container.copyArchiveFromContainer('/in'));
  say('archive', archive.match(/copied [a-z ]+/g));
  await container.restart({ timeout: 1_000 });
  say('after the restart', (await container.exec(['cat', '/in/later'])).stdout);
} finally {
  // It is followed, and ends with the container.
  const stream = await container.logs();
  const log = text(stream);
  // Where Docker itself breaks the answer off, testcontainers never ends what it passes on. Through the mesh all must end.
  if (process.env['DOCKER_HOST']?.startsWith('unix:')) process.once('beforeExit', () => stream.push(null));
  await container.stop({ timeout: 5_000 });
  say(
    'log',
    (await log).split('\n').filter((line) => line !== ''),
  );
}
