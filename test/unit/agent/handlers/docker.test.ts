/** docker.request and docker.upgrade on the real Engine: what it says comes through as it is, and no exec outlives its client. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { buffer, json, text } from 'node:stream/consumers';
import { before, describe, test } from 'node:test';
import { demuxToBytes } from '../../../../shared/docker/demux.ts';
import type { HeaderPair } from '../../../../shared/docker/headers.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { dockerRequest, dockerUpgrade } from '../../../../shared/messages/docker.ts';
import { DOCKER_SOCKET, dockerApi, type TestContainer, testContainer } from '../../../support/docker.ts';
import { DockerProxy } from '../../../support/docker-proxy.ts';
import { type Cleanup, defer, fileCleanup, tempDir } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, SILENT } from '../docker/fake-docker.ts';
import { type Opened, type Served, serve } from './served.ts';

const JSON_TYPE: HeaderPair = ['Content-Type', 'application/json'];
/** Time for a process to be gone whose client has left. */
const GONE = { timeoutMs: 5_000 };

describe('on the real Engine', () => {
  const cleanup = fileCleanup();
  let container: TestContainer;
  let proxy: DockerProxy;
  let served: Served;

  before(async () => {
    container = await testContainer(cleanup);
    proxy = await DockerProxy.start(cleanup);
    const docker = await engineAt(cleanup, proxy.path);
    served = await serve(cleanup, { docker, info: { agentVersion: '0' }, log: SILENT });
  });

  const ask = (method: string, target: string, body: 'none' | 'chunked' | number = 'none') =>
    served.open(dockerRequest, { method, target, headers: body === 'none' ? [] : [JSON_TYPE], body });

  const upgrade = (target: string, body: unknown) => {
    const params = { method: 'POST', target, headers: [JSON_TYPE], protocol: 'tcp' };
    return served.open(dockerUpgrade, { ...params, body: body === undefined ? '' : JSON.stringify(body) });
  };

  /** Makes an exec as a Docker client does. @returns its id */
  async function createExec(cmd: string[], more: object = {}): Promise<string> {
    const config = { AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: cmd, ...more };
    const made = await dockerApi('POST', `/containers/${container.id}/exec`, config);
    assert.equal(made.status, 201);
    return made.body.Id;
  }

  async function startExec(cmd: string[], Tty = false): Promise<{ id: string; opened: Opened<typeof dockerUpgrade> }> {
    const id = await createExec(cmd, { Tty });
    const opened = upgrade(`/v1.41/exec/${id}/start`, { Detach: false, Tty });
    const { status, upgraded } = await opened.stream.reply;
    assert.deepEqual({ status, upgraded }, { status: 101, upgraded: true });
    return { id, opened };
  }

  /** The processes of the container whose command has `word` in it. */
  async function processes(word: string): Promise<number> {
    const top = await dockerApi('GET', `/containers/${container.id}/top`);
    return top.body.Processes.filter((columns: string[]) => columns.at(-1)?.includes(word)).length;
  }

  test('an answer is what Docker answers: status, headers, body and end', async () => {
    const { stream, done } = ask('GET', '/v1.41/_ping');
    const { status, reason, headers, upgraded } = await stream.reply;
    assert.deepEqual({ status, reason, upgraded }, { status: 200, reason: 'OK', upgraded: false });
    const names = headers.map(([name]) => name.toLowerCase());
    assert.ok(names.includes('api-version') && names.includes('content-length') && !names.includes('connection'));
    assert.equal(await text(stream.bytes), 'OK');
    assert.deepEqual(await stream.trailer, { headers: [] });
    await done;
  });

  test('a HEAD has a head alone, and an unknown container is a 404 in Docker’s own words', async () => {
    const head = ask('HEAD', '/_ping');
    assert.equal((await head.stream.reply).status, 200);
    assert.equal(await text(head.stream.bytes), '');
    const none = ask('GET', '/containers/no-such-container/json');
    assert.equal((await none.stream.reply).status, 404);
    assert.deepEqual(await json(none.stream.bytes), { message: 'No such container: no-such-container' });
    await Promise.all([head.done, none.done]);
  });

  for (const framing of ['chunked', 'length'] as const) {
    test(`a body reaches Docker (${framing})`, async () => {
      const config = JSON.stringify({ Cmd: ['true'], User: 'é' });
      const body = framing === 'chunked' ? framing : Buffer.byteLength(config);
      const { stream, done } = ask('POST', `/containers/${container.id}/exec`, body);
      stream.bytes.end(config);
      assert.equal((await stream.reply).status, 201);
      const { Id } = (await json(stream.bytes)) as { Id: string };
      await done;
      const made = await dockerApi('GET', `/exec/${Id}/json`);
      assert.deepEqual([made.body.ProcessConfig.entrypoint, made.body.ProcessConfig.user], ['true', 'é']);
    });
  }

  test('an archive goes out and comes back whole', async () => {
    const out = ask('GET', `/containers/${container.id}/archive?path=/bin`);
    const archive = await buffer(out.stream.bytes);
    assert.ok(archive.byteLength > 500_000, `${archive.byteLength} bytes`);
    for (const body of ['chunked', archive.byteLength] as const) {
      const put = ask('PUT', `/containers/${container.id}/archive?path=/tmp`, body);
      put.stream.bytes.end(archive);
      assert.equal((await put.stream.reply).status, 200);
      const back = ask('GET', `/containers/${container.id}/archive?path=/tmp/bin`);
      assert.ok((await buffer(back.stream.bytes)).equals(archive));
    }
  });

  test('the head of a silent answer comes at once, and an opener who leaves ends it at Docker', async () => {
    const { stream, done, leave } = ask('GET', `/containers/${container.id}/logs?follow=1&stdout=1`);
    assert.equal((await within(5_000, 'the head', stream.reply)).status, 200);
    assert.equal(proxy.open(`${container.id}/logs`), 1);
    leave();
    await assert.rejects(done, (error) => isFairleadError(error, 'CANCELLED'));
    await waitFor('no connection', () => proxy.open(`${container.id}/logs`) === 0);
  });

  test('an exec: input, its end while output still flows, and the end of the connection', async () => {
    const { id, opened } = await startExec(['sh', '-c', 'cat; echo end of input; sleep 0.2; echo later; exit 3']);
    opened.stream.bytes.end('input\n');
    const output = await text(opened.stream.bytes.pipe(demuxToBytes({ tty: false })));
    assert.equal(output, 'input\nend of input\nlater\n');
    assert.deepEqual(await opened.stream.trailer, { headers: [] });
    await opened.done;
    assert.equal((await dockerApi('GET', `/exec/${id}/json`)).body.ExitCode, 3);
  });

  test('a process that ends before its input does is a clean end with all of its output', async () => {
    const { opened } = await startExec(['sh', '-c', 'head -c 10; seq 1 20000']);
    const demuxer = demuxToBytes({ tty: false });
    opened.stream.bytes.on('error', (error) => demuxer.destroy(error));
    opened.stream.bytes.write(Buffer.alloc(1_000_000, 'x'));
    const output = await text(opened.stream.bytes.pipe(demuxer));
    assert.ok(output.startsWith('xxxxxxxxxx1\n2\n') && output.endsWith('\n20000\n'), 'it is cut');
    await opened.done;
  });

  test('an upgrade that Docker refuses is an answer', async () => {
    const opened = upgrade('/exec/none/start', { Detach: false });
    const { status, upgraded } = await opened.stream.reply;
    assert.deepEqual({ status, upgraded }, { status: 404, upgraded: false });
    assert.match(((await json(opened.stream.bytes)) as { message: string }).message, /No such exec/i);
    await opened.done;
  });

  for (const tty of [false, true]) {
    const name = tty ? 'terminal' : 'no terminal';
    test(`an opener who leaves ends the process of an exec (${name})`, async () => {
      const { opened } = await startExec(['sleep', tty ? '8001' : '8002'], tty);
      await waitFor('the process', async () => (await processes(tty ? '8001' : '8002')) === 1);
      opened.leave();
      await assert.rejects(opened.done, (error) => isFairleadError(error, 'CANCELLED'));
      await waitFor('no process', async () => (await processes(tty ? '8001' : '8002')) === 0, GONE);
    });
  }

  test('an exec that was started without an upgrade ends with its opener as well', async () => {
    const id = await createExec(['sleep', '8003'], { AttachStdin: false });
    const body = JSON.stringify({ Detach: false });
    const { stream, done, leave } = ask('POST', `/exec/${id}/start`, body.length);
    stream.bytes.end(body);
    assert.equal((await stream.reply).status, 200);
    await waitFor('the process', async () => (await processes('8003')) === 1);
    leave();
    await assert.rejects(done);
    await waitFor('no process', async () => (await processes('8003')) === 0, GONE);
  });

  test('a detached exec runs on when its call is over', async () => {
    const id = await createExec(['sleep', '8004'], { AttachStdin: false, AttachStdout: false, AttachStderr: false });
    const body = JSON.stringify({ Detach: true });
    const { stream, done } = ask('POST', `/exec/${id}/start`, body.length);
    stream.bytes.end(body);
    assert.equal((await stream.reply).status, 200);
    await text(stream.bytes);
    await done;
    await waitFor('the process', async () => (await processes('8004')) === 1);
  });

  test('an exec with a terminal ends when its opener ends the bytes', async () => {
    const { id, opened } = await startExec(['sh', '-c', 'echo ready; sleep 8005'], true);
    const [first] = await once(opened.stream.bytes, 'data');
    assert.match(String(first), /ready/);
    opened.stream.bytes.end();
    await within(10_000, 'the end', opened.done);
    await waitFor('no process', async () => (await processes('8005')) === 0, GONE);
    assert.equal((await dockerApi('GET', `/exec/${id}/json`)).body.Running, false);
  });

  test('an exec without a terminal goes on when its opener has ended the bytes', async () => {
    const script = 'cat; echo past the input; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo went on';
    const { opened } = await startExec(['sh', '-c', script]);
    opened.stream.bytes.end();
    let output = '';
    opened.stream.bytes.pipe(demuxToBytes({ tty: false })).on('data', (chunk) => {
      output += chunk;
    });
    await waitFor('the end of the input', () => output === 'past the input\n');
    const go = await startExec(['touch', '/tmp/go']);
    await text(go.opened.stream.bytes);
    await within(5_000, 'the end', opened.stream.trailer);
    assert.equal(output, 'past the input\nwent on\n');
  });

  test('a container that was attached to lives on when its client leaves', async (t) => {
    const other = await testContainer(t, { cmd: ['sh', '-c', 'while :; do echo x; sleep 0.05; done'] });
    const opened = upgrade(`/containers/${other.id}/attach?stream=1&stdout=1`, undefined);
    assert.equal((await opened.stream.reply).upgraded, true);
    await once(opened.stream.bytes, 'data');
    opened.leave();
    await assert.rejects(opened.done);
    await waitFor('no connection', () => proxy.open(`${other.id}/attach`) === 0);
    assert.equal((await dockerApi('GET', `/containers/${other.id}/json`)).body.State.Running, true);
  });

  for (const kind of ['docker.upgrade', 'docker.request']) {
    test(`an opener who leaves before Docker has answered leaves no process of an exec behind (${kind})`, async (t) => {
      const word = kind === 'docker.upgrade' ? '8006' : '8007';
      const { socket, held } = await answersHeldBack(t, '/start ');
      const docker = await engineAt(t, socket);
      const slow = await serve(t, { docker, info: { agentVersion: '0' }, log: SILENT });
      const id = await createExec(['sleep', word]);
      const call = { method: 'POST', target: `/exec/${id}/start`, headers: [JSON_TYPE] };
      const opened =
        kind === 'docker.upgrade'
          ? slow.open(dockerUpgrade, { ...call, protocol: 'tcp', body: '{}' })
          : slow.open(dockerRequest, { ...call, body: 2 });
      if (kind === 'docker.request') opened.stream.bytes.end('{}');
      await waitFor('the answer that is held back', () => held() > 0);
      await waitFor('the process', async () => (await processes(word)) === 1);
      opened.leave();
      await assert.rejects(opened.done, (error) => isFairleadError(error, 'CANCELLED'));
      await waitFor('no process', async () => (await processes(word)) === 0, GONE);
    });
  }
});

/** A socket before the Engine that keeps the answers to itself of requests whose first line has `word`. `held` counts them. */
async function answersHeldBack(t: Cleanup, word: string): Promise<{ socket: string; held: () => number }> {
  const socket = join(await tempDir(t, 'docker'), 'docker.sock');
  const ends = new Set<Socket>();
  let held = 0;
  const server = createServer(async (agent) => {
    const engine = connect(DOCKER_SOCKET);
    for (const end of [agent, engine]) ends.add(end.on('error', () => undefined));
    agent.once('close', () => engine.destroy());
    agent.pipe(engine);
    const [first] = (await once(agent, 'data')) as [Buffer];
    if (!first.toString('latin1').split('\r\n', 1)[0]?.includes(word)) engine.pipe(agent);
    else engine.once('data', () => void held++);
  });
  server.listen(socket);
  await once(server, 'listening');
  defer(t, () => {
    for (const end of ends) end.destroy();
    server.close();
  });
  return { socket, held: () => held };
}
