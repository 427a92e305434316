/** `exec`: input, output and the exit code of a command, without a terminal and with one. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { before, describe, it, type TestContext } from 'node:test';
import type { WebSocket } from 'ws';
import { waitFor } from '../../../support/wait.ts';
import { type FakeApi, fakeApi, fakeIo, fakeTerminal, type Identity, makeIdentity, runAgainst } from './fixtures.ts';

let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

/** What a fake exec has received. */
interface Received {
  url: URL;
  socket: WebSocket;
  bytes: Buffer[];
  controls: unknown[];
}

function execServer(server: FakeApi, react: (received: Received) => void): () => Received | undefined {
  let received: Received | undefined;
  server.onSocket((socket, url) => {
    const mine: Received = { url, socket, bytes: [], controls: [] };
    received = mine;
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) mine.bytes.push(data);
      else mine.controls.push(JSON.parse(data.toString('utf8')));
      react(mine);
    });
    react(mine);
  });
  return () => received;
}

function finish({ socket }: Received, code: number): void {
  socket.send(JSON.stringify({ exit: { code } }));
  socket.close(1000);
}

describe('exec without a terminal', () => {
  it('keeps output and errors apart and hands on the exit code', async (t: TestContext) => {
    const server = await fakeApi(t, identity);
    const received = execServer(server, (exec) => {
      if (exec.controls.length === 0) return;
      exec.socket.send(Buffer.from('\u0001out'));
      exec.socket.send(Buffer.from('\u0002err'));
      finish(exec, 7);
    });
    const args = ['exec', '-u', 'root', '-w', '/tmp', '-e', 'A=1', '-e', 'B=2', 'h', 'c', '--', 'sh', '-c', 'x --json'];
    const { code, out, err } = await runAgainst(server, args);
    assert.deepEqual([code, out, err], [7, 'out', 'err']);
    const query = received()?.url.searchParams;
    assert.deepEqual(query?.getAll('cmd'), ['sh', '-c', 'x --json']);
    assert.deepEqual(query?.getAll('env'), ['A=1', 'B=2']);
    assert.deepEqual([query?.get('user'), query?.get('workdir'), query?.get('separate')], ['root', '/tmp', '1']);
    assert.deepEqual(received()?.controls, [{ end: true }]);
  });

  it('forwards standard input to its end', async (t) => {
    const server = await fakeApi(t, identity);
    const content = randomBytes(2 * 1024 * 1024);
    const received = execServer(server, (exec) => {
      if (exec.controls.length > 0) finish(exec, 0);
    });
    const pieces = Array.from({ length: 64 }, (_, index) => content.subarray(index * 32_768, (index + 1) * 32_768));
    const { code } = await runAgainst(server, ['exec', '-i', 'h', 'c', '--', 'cat'], { input: Readable.from(pieces) });
    assert.equal(code, 0);
    assert.ok(Buffer.concat(received()?.bytes ?? []).equals(content));
    assert.deepEqual(received()?.controls, [{ end: true }]);
  });

  it('tells a lost connection and a refusal apart', async (t) => {
    const server = await fakeApi(t, identity);
    execServer(server, ({ socket }) => socket.terminate());
    const lost = await runAgainst(server, ['exec', 'h', 'c', '--', 'true']);
    assert.equal(lost.code, 1);
    assert.match(lost.err, /STREAM_INTERRUPTED/);

    const refusing = await fakeApi(t, identity);
    execServer(refusing, ({ socket }) => {
      socket.send(JSON.stringify({ error: { code: 'DENIED_BY_HOST', detail: 'the host allows no exec' } }));
      socket.close(4403, 'DENIED_BY_HOST');
    });
    const refused = await runAgainst(refusing, ['exec', 'h', 'c', '--', 'true']);
    assert.deepEqual([refused.code, refused.err], [1, 'fairlead: the host allows no exec (DENIED_BY_HOST)\n']);
  });
});

describe('exec with a terminal', () => {
  it('is raw while it runs, passes Ctrl-C and sizes on, and restores the terminal', async (t) => {
    const server = await fakeApi(t, identity);
    const terminal = fakeTerminal();
    const io = fakeIo({}, terminal);
    Object.assign(io.stdout, { columns: 101, rows: 33 });
    const received = execServer(server, (exec) => {
      if (exec.bytes.length === 0 && exec.controls.length === 0) {
        assert.deepEqual(terminal.modes, []);
        setImmediate(() => terminal.write('\u0003'));
      } else if (exec.controls.length === 0) {
        Object.assign(io.stdout, { columns: 120, rows: 40 });
        io.stdout.emit('resize');
        io.stdout.emit('resize');
      } else {
        assert.deepEqual(terminal.modes, [true]);
        exec.socket.send(Buffer.from('\u0001raw'));
        finish(exec, 130);
      }
    });
    const { code, out } = await runAgainst(server, ['exec', '-it', 'h', 'c', '--', 'sh'], { io });
    assert.deepEqual([code, out], [130, '\u0001raw']);
    assert.deepEqual(terminal.modes, [true, false]);
    assert.equal(received()?.url.search, '?cmd=sh&tty=1&cols=101&rows=33');
    assert.equal(Buffer.concat(received()?.bytes ?? []).toString('latin1'), '\u0003');
    assert.deepEqual(received()?.controls, [{ resize: { cols: 120, rows: 40 } }]);
    assert.equal(io.stdout.listenerCount('resize'), 0);
  });

  it('restores the terminal when the connection is lost and when it is killed', async (t) => {
    const server = await fakeApi(t, identity);
    const terminal = fakeTerminal();
    const io = fakeIo({}, terminal);
    const received = execServer(server, () => undefined);
    const done = runAgainst(server, ['exec', '-it', 'h', 'c', '--', 'sh'], { io });
    await waitFor('raw mode', () => terminal.modes.length === 1);
    io.kill();
    assert.deepEqual(terminal.modes, [true, false]);
    received()?.socket.terminate();
    assert.equal((await done).code, 1);
    assert.equal(terminal.modes.at(-1), false);
  });
});
