/** Each docker CLI of this machine does and says through the mesh what it does and says at the socket. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { dockerApi, IDLE, requireDocker, TEST_IMAGE, TEST_LABEL } from '../support/docker.ts';
import { directly, type Outcome, programs, runClient, type Target, throughMesh } from '../support/docker-client.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

/** A mebibyte. */
const BIG = 'a line of it\n'.repeat(1024 * 80);
const PAYLOAD = randomBytes(3_000_001);
const shared = fileCleanup();
let server: Server;
let clis: string[];

before(async () => {
  await requireDocker();
  clis = await programs('docker');
  assert.ok(clis.length > 0, 'there is no docker CLI');
  server = await startServer(shared);
  await addHost(shared, server, 'shop');
});

/** One command of a session: its arguments, and what it reads. */
interface Step {
  readonly args: readonly string[];
  readonly input?: string;
  readonly env?: Record<string, string>;
}

const step = (line: string, more: Omit<Step, 'args'> = {}): Step => ({ args: line.split(' '), ...more });
const sh = (line: string, script: string, more: Omit<Step, 'args'> = {}): Step => ({
  args: [...line.split(' '), 'sh', '-c', script],
  ...more,
});

/** What a day with one container is made of. `dir` holds a file `payload` and a folder `context` to build from. */
function session(name: string, dir: string): Step[] {
  const made = ['--network', 'none', '--label', TEST_LABEL];
  return [
    step('version --format {{.Server.Version}}/{{.Server.APIVersion}}'),
    step('info --format {{.Driver}}'),
    { args: ['run', '--rm', '-i', ...made, TEST_IMAGE, 'cat'], input: 'a line\nno end of line' },
    { args: ['run', '--rm', ...made, TEST_IMAGE, 'sh', '-c', 'echo out; echo err >&2; exit 3'] },
    { args: ['run', '--rm', ...made, TEST_IMAGE, 'no-such-program'] },
    { args: ['run', '-d', '--name', name, ...made, TEST_IMAGE, ...IDLE] },
    step(`ps --filter name=${name} --format {{.Names}}|{{.Image}}|{{.State}}`),
    sh(`exec ${name}`, 'echo out; echo err >&2; exit 7'),
    sh(`exec -i ${name}`, 'cat; exit 4', { input: BIG }),
    // Of more input than was taken Docker may reset the connection, or not, at the socket as well.
    sh(`exec -i ${name}`, 'head -c 3', { input: 'a line\n' }),
    sh(`exec -u guest -w /tmp -e A=b ${name}`, 'id -un; pwd; echo $A'),
    step(`exec ${name} no-such-program`),
    step(`cp ${dir}/payload ${name}:/tmp/payload`),
    sh(`exec ${name}`, 'wc -c /tmp/payload'),
    step(`cp ${name}:/tmp/payload ${dir}/back`),
    step(`cp ${name}:/no/such/file ${dir}/none`),
    step(`cp ${name}:/etc/passwd -`),
    step(`diff ${name}`),
    step(`top ${name} -o comm`),
    step(`stats --no-stream --format {{.Name}} ${name}`),
    step(`inspect --format {{.Config.Image}} ${name}`),
    step('inspect no-such-thing'),
    step(`pause ${name}`),
    step(`exec ${name} true`),
    step(`unpause ${name}`),
    step(`rename ${name} ${name}-2`),
    step(`restart -t 1 ${name}-2`),
    step(`kill -s TERM ${name}-2`),
    step(`wait ${name}-2`),
    step(`logs ${name}-2`),
    step(`commit ${name}-2 ${name}-image`),
    step(`save -o ${dir}/saved ${name}-image`),
    step(`rmi ${name}-image`),
    step(`load -q -i ${dir}/saved`),
    step(`history --format {{.Size}} ${name}-image`),
    step(`tag ${name}-image ${name}-image:x`),
    step(`image ls --format {{.Repository}}:{{.Tag}} ${name}-image`),
    step(`rmi ${name}-image ${name}-image:x`),
    step(`rm -v ${name}-2`),
    step(`rm ${name}-2`),
    step(`build --network none -t ${name}-built ${dir}/context`, { env: { DOCKER_BUILDKIT: '0' } }),
    step(`run --rm --network none ${name}-built`),
    step(`rmi ${name}-built`),
    step(`volume create --label ${TEST_LABEL} ${name}`),
    step(`volume ls -q --filter name=${name}`),
    step(`volume inspect --format {{.Driver}} ${name}`),
    step(`volume rm ${name}`),
    step('network ls --filter name=none --format {{.Driver}}'),
    step(`container prune -f --filter label=${name}`),
    step('events --since 1 --until 2'),
    step('no-such-command'),
  ];
}

async function play(t: TestContext, cli: string, target: Target): Promise<string[]> {
  const name = `fl-test-cli-${randomBytes(4).toString('hex')}`;
  const dir = await tempDir(t, 'session');
  // Another one for each, so that no layer is shared with a session that runs beside.
  const payload = Buffer.concat([Buffer.from(name), PAYLOAD]);
  await writeFile(join(dir, 'payload'), payload);
  await mkdir(join(dir, 'context'));
  await writeFile(
    join(dir, 'context/Dockerfile'),
    `FROM ${TEST_IMAGE}\nCOPY file /file\nRUN echo made > /made\nCMD ["cat", "/file", "/made"]\n`,
  );
  await writeFile(join(dir, 'context/file'), `${name}\n`);
  defer(t, () => cleanAway(name));
  const outcomes: string[] = [];
  for (const { args, ...options } of session(name, dir)) {
    const run = async () => {
      const outcome = await runClient(t, target, [cli, ...args], options);
      // The Engine prunes for one client at a time, and another session may be that one.
      return outcome.stderr.includes('prune operation is already running') ? undefined : outcome;
    };
    const outcome = await waitFor(args.join(' '), run);
    outcomes.push(`$ docker ${plain(`${args.join(' ')}\n${told(outcome)}`, name, dir)}`);
  }
  assert.ok(payload.equals(await readFile(join(dir, 'back'))), 'a file that was copied there and back');
  return outcomes;
}

async function cleanAway(name: string): Promise<void> {
  for (const container of [name, `${name}-2`]) await dockerApi('DELETE', `/containers/${container}?force=1&v=1`);
  for (const image of [`${name}-image`, `${name}-image:x`, `${name}-built`])
    await dockerApi('DELETE', `/images/${image}`);
  await dockerApi('DELETE', `/volumes/${name}`);
}

function told({ code, stdout, stderr }: Outcome): string {
  return `${stdout}--- stderr\n${stderr}--- ${code}\n`;
}

/** What is another one each time does not count: names, ids, times, and where files lie. */
function plain(text: string, name: string, dir: string): string {
  return (
    text
      .replaceAll(name, 'NAME')
      .replaceAll(dir, 'DIR')
      // Said or not by one and the same client, as its luck has it.
      .replaceAll(/^time=.* msg="error waiting for container: context canceled"\n/gm, '')
      .replaceAll(/\b[0-9a-f]{12}(?:[0-9a-f]{52})?\b/g, 'ID')
      .replaceAll(/\d{4}-\d\d-\d\d[T ][\d:.]+Z?/g, 'TIME')
  );
}

test('a session with containers, images, volumes and builds is the same', { concurrency: true }, async (t) => {
  await Promise.all(
    clis.map((cli) =>
      t.test(cli, async (t) => {
        const [socket, mesh] = await Promise.all([
          directly(t).then((target) => play(t, cli, target)),
          throughMesh(t, server, 'shop').then((target) => play(t, cli, target)),
        ]);
        for (const [index, outcome] of mesh.entries()) assert.equal(outcome, socket[index]);
      }),
    ),
  );
});
