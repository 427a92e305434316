/** A command run to its end, as an Engine tells of it: what is kept of its output, and what that takes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { containerExecRun } from '../../../../shared/messages/container-streams.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { serve } from './served.ts';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** Bytes that are in use, in objects and beside them. */
function inUse(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

interface Running {
  /** Writes what Docker sends of the output. */
  readonly output: (connection: Socket) => Promise<void>;
  /** Is called when the output has ended, and the exit code is asked for. */
  readonly onEnded?: () => void;
}

async function runOn(t: TestContext, { output, onEnded }: Running, maxOutputBytes: number) {
  const docker = await fakeDocker(
    t,
    ({ url = '' }, response) => {
      if (/^\/containers\/web\/exec/.test(url)) return void response.end('{"Id":"e1"}');
      onEnded?.();
      response.end('{"Running":false,"ExitCode":3,"Pid":0,"ContainerID":"web"}');
    },
    (connection) => void output(connection).then(() => connection.end()),
  );
  const context = { docker: await engineAt(t, docker.socket), info: { agentVersion: '0' }, log: SILENT };
  const params = { id: 'web', cmd: ['x'], timeoutMs: 60_000, maxOutputBytes };
  const { stream } = (await serve(t, context)).open(containerExecRun, params);
  await stream.reply;
  stream.bytes.end();
  stream.bytes.resume();
  return (await stream.trailer) ?? assert.fail('it has a trailer');
}

function frame(stream: 1 | 2, text: string): Buffer {
  const head = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(text.length, 4);
  return Buffer.concat([head, Buffer.from(text)]);
}

test('each output is kept up to its limit, and told apart', async (t) => {
  const output = async (connection: Socket) => {
    for (const piece of [frame(1, 'abc'), frame(2, 'no'), frame(1, 'defg')]) connection.write(piece);
  };
  const { exitCode, stdout, stderr, truncated } = await runOn(t, { output }, 5);
  assert.deepEqual([exitCode, truncated], [3, true]);
  assert.deepEqual(
    [stdout, stderr].map((text) => Buffer.from(text, 'base64').toString()),
    ['abcde', 'no'],
  );
});

test('an output that comes byte by byte takes little more than its bytes', async (t) => {
  const bytes = 512 * 1024;
  const many = Buffer.concat(Array.from({ length: 4096 }, () => frame(1, 'x')));
  const output = async (connection: Socket) => {
    for (let sent = 0; sent < bytes; sent += 4096) if (!connection.write(many)) await once(connection, 'drain');
  };
  const before = inUse();
  let during = 0;
  const onEnded = () => {
    during = inUse();
  };
  const { stdout, truncated } = await runOn(t, { output, onEnded }, bytes);
  assert.equal(Buffer.from(stdout, 'base64').toString(), 'x'.repeat(bytes));
  assert.equal(truncated, false);
  assert.ok(during - before < 24 * bytes, `${during - before} bytes were in use for an output of ${bytes}`);
});
