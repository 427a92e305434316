/** Connections of execs for clients of Docker's own API: what ends in order, and what only looks so. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { Connections } from '../../../../../server/hawser/standard/connections.ts';
import { serveStandardUpgrade } from '../../../../../server/hawser/standard/docker-exchange.ts';
import type { StandardContext } from '../../../../../server/hawser/standard/kind.ts';
import { StandardTransport } from '../../../../../server/hawser/standard/standard-transport.ts';
import { FakeClock } from '../../../../support/fake-clock.ts';
import { standardAgent } from '../../../../support/hawser-standard-agent.ts';
import { defer, tempDir } from '../../../../support/tmp.ts';
import { waitFor } from '../../../../support/wait.ts';

/** A Docker with one exec, which says of it what `says` is, or that there is none. */
async function engine(t: TestContext) {
  const it = { says: undefined as object | undefined, exec: undefined as Duplex | undefined, typed: '', looks: 0 };
  const server = createServer((_request, response) => {
    it.looks++;
    const answer = JSON.stringify(it.says ?? { message: 'No such exec instance: e1' });
    response.writeHead(it.says === undefined ? 404 : 200, { 'Content-Type': 'application/json' }).end(answer);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
    request.resume();
    socket
      .on('error', () => undefined)
      .on('data', (chunk) => {
        it.typed += String(chunk);
      });
    socket.write('HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nout');
    it.exec = socket;
  });
  const socket = join(await tempDir(t, 'docker'), 'docker.sock');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  defer(t, async () => {
    it.exec?.destroy();
    server.closeAllConnections();
    server.close();
  });
  return { it, socket };
}

/** An exec that a client has started, and has read something of. */
async function started(t: TestContext, tty: boolean) {
  const { it, socket } = await engine(t);
  const agent = await standardAgent(t, { token: 'secret', docker: socket });
  const clock = new FakeClock();
  const connections = new Connections({ address: { url: new URL(agent.url), token: 'secret' }, clock });
  const transport = new StandardTransport({ connections, clock });
  defer(t, async () => transport.close('SHUTDOWN', 'the test is over'));
  const context = { transport, ask: transport.ask.bind(transport) } as Partial<StandardContext> as StandardContext;
  const body = JSON.stringify({ Detach: false, Tty: tty });
  const headers: [string, string][] = [['Content-Type', 'application/json']];
  const params = { method: 'POST', target: '/v1.41/exec/e1/start', headers, protocol: 'tcp', body };
  const { bytes, trailer } = await serveStandardUpgrade(context, params, {});
  const output = buffer(bytes).then(String);
  output.catch(() => undefined);
  trailer.catch(() => undefined);
  await waitFor('the exec', () => it.exec);
  const type = async (keys: string) => {
    bytes.write(keys);
    await waitFor('the keys', () => it.typed.endsWith(keys));
  };
  /** Lets time go by, second by second, until the output has ended or failed. */
  const settle = async () => {
    let isOver = false;
    output.then(
      () => (isOver = true),
      () => (isOver = true),
    );
    await waitFor('the end', () => {
      if (!isOver) clock.advance(1_000);
      return isOver;
    });
  };
  return { it, agent, output, type, settle };
}

test('an end is one once Docker says that the process has ended, or that there is none', async (t) => {
  const { it, output } = await started(t, false);
  it.says = { Running: false, ExitCode: 3 };
  it.exec?.end(' and the rest');
  assert.equal(await output, 'out and the rest');
  assert.equal(it.looks, 1);
  const gone = await started(t, false);
  gone.it.exec?.end();
  assert.equal(await gone.output, 'out');
});

test('an end that the agent has made when it was killed is none, as clean as it looks', async (t) => {
  const { it, agent, output, settle } = await started(t, false);
  it.says = { Running: true, ExitCode: null };
  for (const socket of agent.connections) socket.end();
  await settle();
  await assert.rejects(output, { code: 'STREAM_INTERRUPTED', message: /goes on without it/ });
  const stopped = await started(t, true);
  await stopped.agent.stop();
  await stopped.settle();
  await assert.rejects(stopped.output, { code: 'STREAM_INTERRUPTED' });
});

test('whoever detaches from a terminal by its keys has an end at once, and nobody else', async (t) => {
  const running = { Running: true, ExitCode: null, DetachKeys: '' };
  for (const [says, keys] of [
    [running, 'ls\r\x10\x11'],
    [{ ...running, DetachKeys: Buffer.from('\x01x').toString('base64') }, '\x01x'],
  ] as const) {
    const { it, output, type } = await started(t, true);
    it.says = says;
    await type(keys);
    it.exec?.end();
    assert.equal(await output, 'out');
  }
  for (const [tty, keys] of [
    [true, '\x10'],
    [false, '\x10\x11'],
  ] as const) {
    const { it, output, type, settle } = await started(t, tty);
    it.says = running;
    await type(keys);
    it.exec?.end();
    await settle();
    await assert.rejects(output, { code: 'STREAM_INTERRUPTED' });
  }
});
