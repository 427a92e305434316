import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { demuxToBytes, demuxToRecords, type LogRecord } from '../../../../shared/docker/demux.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { containerLogStream } from '../../../../shared/messages/container.ts';
import type { Params } from '../../../../shared/messages/kind.ts';
import { DOCKER_SOCKET, dockerApi, type TestContainer, testContainer } from '../../../support/docker.ts';
import { dockerFrame } from '../../../support/docker-frames.ts';
import { fileCleanup } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { type Served, serve } from './served.ts';

const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

describe('container.log.stream on the real Engine', () => {
  const cleanup = fileCleanup();
  let served: Served;
  let done: TestContainer;

  before(async () => {
    const docker = await engineAt(cleanup, DOCKER_SOCKET);
    served = await serve(cleanup, { docker, info: { agentVersion: '1' }, log: SILENT });
    const script = 'echo one; echo two >&2; sleep 0.1; echo three';
    done = await testContainer(cleanup, { cmd: ['sh', '-c', script] });
    await dockerApi('POST', `/containers/${done.id}/wait`);
  });

  const logs = (params: Omit<Params<typeof containerLogStream>, 'id'>, id = done.id) =>
    served.open(containerLogStream, { id, ...params });

  async function lines(params: Omit<Params<typeof containerLogStream>, 'id'>, id = done.id): Promise<string[]> {
    const output = await text(logs(params, id).stream.bytes.pipe(demuxToBytes()));
    return output.split('\n').slice(0, -1);
  }

  test('all lines of both streams by default', async () => {
    assert.deepEqual((await lines({})).sort(), ['one', 'three', 'two']);
    assert.equal((await lines({})).at(-1), 'three');
  });

  test('one stream, or none', async () => {
    assert.deepEqual(await lines({ stderr: false }), ['one', 'three']);
    assert.deepEqual(await lines({ stdout: false }), ['two']);
    await assert.rejects(logs({ stdout: false, stderr: false }).stream.reply, coded('VALIDATION'));
  });

  test('the last lines', async () => {
    assert.deepEqual(await lines({ tail: 1 }), ['three']);
    assert.deepEqual(await lines({ tail: 0 }), []);
  });

  test('timestamps, and the lines between two of them', async () => {
    const found: LogRecord[] = [];
    const through = demuxToRecords({ tty: false, timestamps: true });
    for await (const record of logs({ timestamps: true }).stream.bytes.pipe(through)) found.push(record);
    assert.deepEqual(found.map((record) => record.stream).sort(), ['stderr', 'stdout', 'stdout']);
    assert.ok(found.every((record) => /^20\d\d-.*Z$/.test(record.time ?? '')));
    const last = found.at(-1)?.time ?? '';
    assert.deepEqual(await lines({ since: last }), ['three']);
    assert.equal((await lines({ until: last, since: '1h' })).includes('one'), true);
    assert.deepEqual(await lines({ until: '1h' }), []);
    await assert.rejects(logs({ since: 'yesterday' }).stream.reply, coded('VALIDATION'));
  });

  test('the output of a terminal is told to be one, and is raw', async (t) => {
    const container = await testContainer(t, { cmd: ['echo', 'hello'], tty: true });
    await dockerApi('POST', `/containers/${container.id}/wait`);
    const { stream } = logs({}, container.id);
    const { tty, id, startedAt, openedAt } = await stream.reply;
    assert.deepEqual([tty, id], [true, container.id]);
    assert.ok(Date.parse(startedAt ?? '') < Date.parse(openedAt ?? ''));
    assert.equal(await text(stream.bytes), 'hello\r\n');
  });

  test('a silent container is answered at once, and followed until it ends', async (t) => {
    const container = await testContainer(t);
    const { stream } = logs({ follow: true }, container.id);
    assert.equal((await within(2_000, 'the reply', stream.reply)).tty, false);
    const all = text(stream.bytes);
    await dockerApi('POST', `/containers/${container.id}/stop`);
    assert.equal(await within(5_000, 'the end', all), '');
    assert.equal(await stream.closed, undefined);
  });

  test('lines are followed as they come, and the tail ends with its reader', async (t) => {
    const container = await testContainer(t, {
      cmd: ['sh', '-c', 'i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done'],
    });
    const opened = logs({ follow: true }, container.id);
    let output = '';
    opened.stream.bytes
      .on('error', () => undefined)
      .on('data', (chunk) => {
        output += chunk.toString('latin1');
      });
    await waitFor('some lines', () => output.includes('\n') && output.split('\n').length > 5);
    opened.leave();
    await within(1_000, 'the end of the handler', assert.rejects(opened.done, coded('CANCELLED')));
  });

  test('20 MB arrive whole for a reader who pauses', async (t) => {
    const container = await testContainer(t, {
      cmd: ['sh', '-c', 'yes "a line of the log that is read slowly" | head -c 20000000'],
    });
    await dockerApi('POST', `/containers/${container.id}/wait`);
    const { stream } = logs({}, container.id);
    const through = stream.bytes.pipe(demuxToBytes());
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of through) {
      if (bytes === 0) await sleep(500);
      bytes += chunk.length;
      hash.update(chunk);
    }
    const line = 'a line of the log that is read slowly\n';
    const expected = line.repeat(Math.ceil(20_000_000 / line.length)).slice(0, 20_000_000);
    assert.equal(bytes, 20_000_000);
    assert.equal(hash.digest('hex'), createHash('sha256').update(expected).digest('hex'));
  });
});

describe('container.log.stream when Docker fails', () => {
  const inspect = '{"Config":{"Tty":false}}';

  test('a log that is cut resets the stream, whatever was read of it', async (t) => {
    const fake = await fakeDocker(t, (request, response) => {
      if (request.url?.includes('/json')) return void response.end(inspect);
      response.write(dockerFrame(1, 'line\n'));
      setTimeout(() => response.socket?.destroy(), 50);
    });
    const served = await serve(t, { docker: await engineAt(t, fake.socket), info: { agentVersion: '1' }, log: SILENT });
    const { stream } = served.open(containerLogStream, { id: 'c', follow: true });
    let read = '';
    await assert.rejects(async () => {
      for await (const chunk of stream.bytes) read += chunk.toString('latin1');
    }, coded('DOCKER_UNREACHABLE'));
    assert.match(read, /line/);
  });

  test('Docker killed under a tail: the stream is reset and the state says so', async (t) => {
    const fake = await fakeDocker(t, (request, response) => {
      if (request.url?.includes('/json')) response.end(inspect);
      else response.write(dockerFrame(1, 'line\n'));
    });
    const docker = await engineAt(t, fake.socket);
    const served = await serve(t, { docker, info: { agentVersion: '1' }, log: SILENT });
    const { stream } = served.open(containerLogStream, { id: 'c', follow: true });
    await stream.reply;
    await fake.kill();
    assert.equal((await within(1_000, 'the reset', stream.closed))?.code, 'DOCKER_UNREACHABLE');
    await waitFor('the state', () => !docker.state.reachable, { timeoutMs: 1_000 });
  });

  test('a reader who leaves frees the connection to Docker within 1 s, before the reply too', async (t) => {
    let answer = false;
    const fake = await fakeDocker(t, (request, response) => {
      if (request.url?.includes('/json')) response.end(inspect);
      else if (answer) response.write(dockerFrame(1, 'line\n'));
    });
    const served = await serve(t, { docker: await engineAt(t, fake.socket), info: { agentVersion: '1' }, log: SILENT });
    for (answer of [false, true]) {
      const opened = served.open(containerLogStream, { id: 'c', follow: true });
      if (answer) await opened.stream.reply;
      else await waitFor('the question', () => fake.sockets.size > 0);
      opened.leave();
      await waitFor('free connections', () => fake.sockets.size === 0, { timeoutMs: 1_000 });
      await assert.rejects(opened.done);
    }
  });
});
