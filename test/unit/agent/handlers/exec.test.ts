import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { before, describe, test } from 'node:test';
import { DockerEngine } from '../../../../agent/docker/engine.ts';
import type { HandlerContext } from '../../../../agent/handlers/index.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { demuxToBytes, demuxToRecords, type LogRecord } from '../../../../shared/docker/demux.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { containerExecOpen } from '../../../../shared/messages/container.ts';
import type { Params } from '../../../../shared/messages/kind.ts';
import { DOCKER_SOCKET, dockerApi, type TestContainer, testContainer } from '../../../support/docker.ts';
import { fileCleanup } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, PERMISSIVE, SILENT } from '../docker/fake-docker.ts';
import { type Opened, type Served, serve } from './served.ts';

type ExecParams = Omit<Params<typeof containerExecOpen>, 'id'>;

describe('container.exec.open', () => {
  let container: TestContainer;
  let context: HandlerContext;
  let served: Served;
  const cleanup = fileCleanup();

  before(async () => {
    container = await testContainer(cleanup);
    context = { docker: await engineAt(cleanup, DOCKER_SOCKET), info: { agentVersion: '0' }, log: SILENT };
    served = await serve(cleanup, context);
  });

  const exec = (params: ExecParams, id = container.id): Opened<typeof containerExecOpen> =>
    served.open(containerExecOpen, { id, ...params });

  async function finish(
    opened: Opened<typeof containerExecOpen>,
    stdin?: string,
  ): Promise<[string, number | undefined]> {
    const { tty } = await opened.stream.reply;
    opened.stream.bytes.end(stdin);
    const output = await text(opened.stream.bytes.pipe(demuxToBytes({ tty })));
    return [output, (await opened.stream.trailer)?.code];
  }

  /** The processes of the container whose command has `word` in it. */
  async function processes(word: string, of = container): Promise<number> {
    const top = await dockerApi('GET', `/containers/${of.id}/top`);
    return top.body.Processes.filter((columns: string[]) => columns.at(-1)?.includes(word)).length;
  }

  test('output and exit code', async () => {
    assert.deepEqual(await finish(exec({ cmd: ['sh', '-c', 'echo out; exit 7'] })), ['out\n', 7]);
    assert.deepEqual(await finish(exec({ cmd: ['true'] })), ['', 0]);
  });

  test('stdout and stderr are told apart', async () => {
    const opened = exec({ cmd: ['sh', '-c', 'echo out; echo err >&2'] });
    opened.stream.bytes.end();
    const found: LogRecord[] = [];
    for await (const record of opened.stream.bytes.pipe(demuxToRecords({ tty: false, timestamps: false })))
      found.push(record);
    found.sort((a, b) => b.stream.localeCompare(a.stream));
    assert.deepEqual(found, [
      { stream: 'stdout', line: 'out' },
      { stream: 'stderr', line: 'err' },
    ]);
  });

  test('stdin, and its end while output still flows', async () => {
    const script = 'cat; echo end of input; sleep 0.2; echo later';
    assert.deepEqual(await finish(exec({ cmd: ['sh', '-c', script] }), 'input\n'), ['input\nend of input\nlater\n', 0]);
  });

  test('20 MB of stdin come back whole', async () => {
    const opened = exec({ cmd: ['md5sum'] });
    await opened.stream.reply;
    const piece = Buffer.alloc(1_000_000, 'fairlead');
    for (let sent = 0; sent < 20; sent++) {
      if (!opened.stream.bytes.write(piece)) await new Promise((resolve) => opened.stream.bytes.once('drain', resolve));
    }
    const { createHash } = await import('node:crypto');
    const hash = createHash('md5');
    for (let sent = 0; sent < 20; sent++) hash.update(piece);
    assert.deepEqual(await finish(opened), [`${hash.digest('hex')}  -\n`, 0]);
  });

  test('a process that ends before its input does loses none of its output', async () => {
    for (let round = 0; round < 5; round++) {
      const opened = exec({ cmd: ['sh', '-c', 'head -c 10; seq 1 20000'] });
      await opened.stream.reply;
      opened.stream.bytes.on('error', () => undefined);
      const piece = Buffer.alloc(65_536, 'x');
      const flood = setInterval(() => opened.stream.bytes.writableNeedDrain || opened.stream.bytes.write(piece), 1);
      const output = await text(opened.stream.bytes.pipe(demuxToBytes()));
      clearInterval(flood);
      assert.equal((await opened.stream.trailer)?.code, 0);
      assert.ok(output.startsWith('xxxxxxxxxx1\n2\n') && output.endsWith('\n20000\n'), `round ${round} is cut`);
    }
  });

  test('without stdin the process has none', async () => {
    assert.deepEqual(await finish(exec({ cmd: ['cat'], stdin: false }), 'ignored'), ['', 0]);
  });

  test('user, environment and working directory', async () => {
    const opened = exec({
      cmd: ['sh', '-c', 'id -u; pwd; echo "$A:$B"'],
      user: 'guest',
      workdir: '/tmp',
      env: ['A=1', 'B=x y'],
    });
    assert.deepEqual(await finish(opened), ['1000\n/tmp\n1:x y\n', 0]);
  });

  test('a terminal: raw bytes, its first size, and a new one', async () => {
    const script = 'sleep 0.3; stty size; read x; stty size';
    const opened = exec({ cmd: ['sh', '-c', script], tty: true, size: { cols: 101, rows: 41 } });
    assert.equal((await opened.stream.reply).tty, true);
    let output = '';
    opened.stream.bytes.on('data', (chunk) => {
      output += chunk;
    });
    await waitFor('the first size', () => output.includes('41 101\r\n'), { context: () => output });
    for (let cols = 1; cols <= 9; cols++) opened.stream.signal({ resize: { cols, rows: 33 } });
    await new Promise((resolve) => setTimeout(resolve, 200));
    opened.stream.bytes.write('\n');
    await waitFor('the second size', () => output.includes('33 9\r\n'), { context: () => output });
    assert.deepEqual(await opened.stream.trailer, { code: 0 });
  });

  test('Ctrl-C in a terminal reaches the process', async () => {
    const opened = exec({
      cmd: ['sh', '-c', 'trap "echo caught; exit 3" INT; echo ready; sleep 30 & wait'],
      tty: true,
    });
    let output = '';
    opened.stream.bytes.on('data', (chunk) => {
      output += chunk;
    });
    await waitFor('the trap', () => output.includes('ready'));
    opened.stream.bytes.write('\x03');
    assert.deepEqual(await within(5_000, 'the end', opened.stream.trailer), { code: 3 });
    assert.match(output, /caught/);
  });

  test('a command that does not exist is 126 or 127 with a sentence', async () => {
    const [output, code] = await finish(exec({ cmd: ['no-such-command'] }));
    assert.match(output, /no-such-command/);
    assert.ok(code === 126 || code === 127, `code ${code}`);
  });

  test('an unknown container and one that does not run are told apart', async (t) => {
    await assert.rejects(exec({ cmd: ['true'] }, 'no-such-container').done, (error) =>
      isFairleadError(error, 'CONTAINER_NOT_FOUND'),
    );
    const stopped = await testContainer(t, { start: false });
    await assert.rejects(exec({ cmd: ['true'] }, stopped.id).done, (error) => isFairleadError(error, 'CONFLICT'));
  });

  for (const tty of [false, true]) {
    test(`an opener who leaves ends the process within 1 s (${tty ? 'terminal' : 'no terminal'})`, async () => {
      const seconds = tty ? '7001' : '7002';
      const opened = exec({ cmd: ['sleep', seconds], tty });
      await opened.stream.reply;
      await waitFor('the process', async () => (await processes(seconds)) === 1);
      const left = performance.now();
      opened.leave();
      await assert.rejects(opened.done, (error) => isFairleadError(error, 'CANCELLED'));
      await waitFor('no process', async () => (await processes(seconds)) === 0, { timeoutMs: 1_000 });
      assert.ok(performance.now() - left < 1_000);
    });

    test(`so do its children, and those that ignore SIGHUP (${tty ? 'terminal' : 'no terminal'})`, async () => {
      const seconds = tty ? '7003' : '7004';
      const opened = exec({
        cmd: ['sh', '-c', `trap "" HUP TERM; sleep ${seconds} & sleep ${seconds}; sleep ${seconds}`],
        tty,
      });
      await opened.stream.reply;
      await waitFor('the processes', async () => (await processes(`sleep ${seconds}`)) === 3);
      opened.leave();
      await assert.rejects(opened.done);
      await waitFor('no process', async () => (await processes(seconds)) === 0, { timeoutMs: 1_000 });
    });
  }

  test('an opener who leaves before the process has started leaves none behind', async () => {
    for (const wait of [0, 1, 5, 20, 60]) {
      const opened = exec({ cmd: ['sleep', '7005'] });
      await new Promise((resolve) => setTimeout(resolve, wait));
      opened.leave();
      await assert.rejects(opened.done);
      await waitFor('no process', async () => (await processes('7005')) === 0, { timeoutMs: 1_000 });
    }
  });

  test('the container itself and its other processes live on', async () => {
    const other = exec({ cmd: ['sleep', '7006'] });
    await other.stream.reply;
    const opened = exec({ cmd: ['sleep', '7007'] });
    await opened.stream.reply;
    opened.leave();
    await assert.rejects(opened.done);
    assert.equal(await processes('7006'), 1);
    assert.equal((await dockerApi('GET', `/containers/${container.id}/json`)).body.State.Running, true);
    other.leave();
    await assert.rejects(other.done);
  });

  test('a container that is removed ends its exec', async (t) => {
    const doomed = await testContainer(t);
    const opened = exec({ cmd: ['sleep', '7008'] }, doomed.id);
    await opened.stream.reply;
    await waitFor('the process', async () => (await processes('7008', doomed)) === 1);
    await dockerApi('DELETE', `/containers/${doomed.id}?force=1`);
    await within(
      5_000,
      'the end of the exec',
      opened.done.catch((error) => assert.ok(isFairleadError(error))),
    );
  });

  test('an engine that is closed serves no exec', async (t) => {
    const docker = new DockerEngine({ socket: DOCKER_SOCKET, policy: PERMISSIVE, clock: systemClock, log: SILENT });
    docker.close();
    const closed = await serve(t, { ...context, docker });
    await assert.rejects(closed.call(containerExecOpen, { id: container.id, cmd: ['true'] }), (error) =>
      isFairleadError(error, 'SHUTDOWN'),
    );
  });
});
