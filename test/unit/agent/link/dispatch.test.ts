import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { pino } from 'pino';
import type { Handler, HandlerContext } from '../../../../agent/handlers/index.ts';
import { Dispatcher } from '../../../../agent/link/dispatch.ts';
import { MAX_POLICY_CHARS } from '../../../../agent/policy/policy.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { MAX_FRAME_BYTES_BEFORE_HELLO, MAX_OPEN_STREAMS, MAX_REASON_CHARS } from '../../../../shared/limits.ts';
import { containerExecOpen, containerList } from '../../../../shared/messages/container.ts';
import { containerExecRun } from '../../../../shared/messages/container-streams.ts';
import { hostInfo } from '../../../../shared/messages/host.ts';
import { PROTOCOL_VERSIONS, STREAM_KINDS } from '../../../../shared/messages/index.ts';
import type { StreamKind } from '../../../../shared/messages/kind.ts';
import { agentUpgrade } from '../../../../shared/messages/release.ts';
import { trustUpdate } from '../../../../shared/messages/trust.ts';
import { FRAME_HEADER_BYTES } from '../../../../shared/mux/frame.ts';
import { COMPRESSIONS } from '../../../../shared/mux/handshake.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { encodeValue } from '../../../../shared/mux/values.ts';
import { VERSION } from '../../../../shared/version.ts';

/** A stream as far as the dispatcher looks at it. */
function fakeStream(kind: StreamKind, aborted = AbortSignal.any([])) {
  const resets: FairleadError[] = [];
  const stream = { kind, aborted, reset: (error: FairleadError) => void resets.push(error) };
  return { stream: stream as unknown as MuxStream, resets };
}

function dispatcher(handlers: [StreamKind, Handler][], policy = { allow: [] as string[], deny: [] as string[] }) {
  return new Dispatcher({
    policy,
    handlers: new Map(handlers.map(([kind, handler]) => [kind.code, handler])),
    context: {} as unknown as HandlerContext,
    log: pino({ level: 'silent' }),
  });
}

/** Lets the handlers that were called run to their end. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a stream reaches the handler of its kind, and counts while that runs', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const served: MuxStream[] = [];
  const it = dispatcher([
    [
      hostInfo,
      async (stream) => {
        served.push(stream);
        await promise;
      },
    ],
  ]);
  const { stream, resets } = fakeStream(hostInfo);
  it.accept(stream);
  assert.deepEqual(served, [stream]);
  assert.equal(it.running, 1);
  resolve();
  await turn();
  assert.equal(it.running, 0);
  assert.deepEqual(resets, []);
});

test('handlers whose streams were reset still count: no more of them at work than streams may be open', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const it = dispatcher([[hostInfo, () => promise]]);
  for (let begun = 0; begun < MAX_OPEN_STREAMS; begun += 1) it.accept(fakeStream(hostInfo, AbortSignal.abort()).stream);
  assert.equal(it.running, MAX_OPEN_STREAMS);
  const { stream, resets } = fakeStream(hostInfo);
  it.accept(stream);
  assert.equal(it.running, MAX_OPEN_STREAMS);
  assert.deepEqual(
    resets.map(({ code }) => code),
    ['OVERLOADED'],
  );
  resolve();
  await turn();
  it.accept(fakeStream(hostInfo).stream);
  assert.equal(it.running, 1);
});

test('what the policy denies never reaches a handler', () => {
  let calls = 0;
  const count: Handler = async () => {
    calls += 1;
  };
  const it = dispatcher([[containerExecOpen, count]], { allow: [], deny: ['exec'] });
  const { stream, resets } = fakeStream(containerExecOpen);
  it.accept(stream);
  assert.equal(resets[0]?.code, 'DENIED_BY_HOST');
  assert.equal(calls, 0);
  assert.deepEqual(it.capabilities(STREAM_KINDS), []);
});

test('what is denied under the name of another kind is refused with that name, and is no capability', () => {
  const handler = async () => assert.fail('it was served');
  const it = dispatcher([[containerExecRun, handler]], { allow: [], deny: ['container.exec.open'] });
  const { stream, resets } = fakeStream(containerExecRun);
  it.accept(stream);
  assert.deepEqual(
    resets.map(({ code, message }) => [code, message]),
    [
      [
        'DENIED_BY_HOST',
        "this host's policy does not allow container.exec.run: it denies container.exec.open, which that does as well",
      ],
    ],
  );
  assert.deepEqual([it.capabilities(STREAM_KINDS), it.denied(STREAM_KINDS)], [[], ['container.exec.run']]);
});

test('a kind without a handler is unsupported', () => {
  const { stream, resets } = fakeStream(containerList);
  dispatcher([]).accept(stream);
  assert.equal(resets[0]?.code, 'UNSUPPORTED');
});

test('a handler that fails resets its own stream: with its code, or with INTERNAL and no detail', async () => {
  const it = dispatcher([
    [containerList, () => Promise.reject(new FairleadError('DOCKER_UNREACHABLE', 'no socket'))],
    [
      hostInfo,
      () => {
        throw new TypeError('a secret in it');
      },
    ],
  ]);
  const known = fakeStream(containerList);
  const unknown = fakeStream(hostInfo);
  it.accept(known.stream);
  it.accept(unknown.stream);
  await turn();
  assert.equal(known.resets[0]?.code, 'DOCKER_UNREACHABLE');
  assert.equal(unknown.resets[0]?.code, 'INTERNAL');
  assert.doesNotMatch(unknown.resets[0]?.message ?? '', /secret/);
  assert.equal(it.running, 0);
});

test('a handler that fails because the other end gave up resets nothing', async () => {
  const { stream, resets } = fakeStream(containerList, AbortSignal.abort());
  dispatcher([[containerList, () => Promise.reject(new Error('cut off'))]]).accept(stream);
  await turn();
  assert.deepEqual(resets, []);
});

test('capabilities are the kinds that are served and permitted', () => {
  const nothing: Handler = () => Promise.resolve();
  const it = dispatcher(
    [
      [hostInfo, nothing],
      [containerList, nothing],
      [containerExecOpen, nothing],
    ],
    { allow: ['read'], deny: ['host.*'] },
  );
  assert.deepEqual(it.capabilities(STREAM_KINDS), ['container.list']);
  assert.deepEqual(it.denied(STREAM_KINDS), ['host.info', 'container.exec.open']);
});

test('the largest hello fits its frame', () => {
  const served = STREAM_KINDS.filter(({ from }) => (from as string) !== 'agent');
  const entries = Array.from({ length: MAX_POLICY_CHARS / 32 }, (_, index) => `container.${index}`.padEnd(31, 'x'));
  const largest = {
    ...{ versions: [...PROTOCOL_VERSIONS], agentVersion: VERSION, instanceId: randomUUID(), compression: COMPRESSIONS },
    ...{ hostname: 'h'.repeat(255), os: 'linux', arch: 'x64' },
    docker: {
      reachable: false,
      version: 'v'.repeat(64),
      apiVersion: 'a'.repeat(16),
      reason: 'r'.repeat(MAX_REASON_CHARS),
    },
    capabilities: [...served.map(({ name }) => name), trustUpdate.name, agentUpgrade.name],
    denied: [],
    policy: { allow: entries, deny: [] },
    upgrade: {
      able: false,
      reason: 'r'.repeat(MAX_REASON_CHARS),
      sequence: 2 ** 31 - 1,
      refused: Array(16).fill(2 ** 31 - 1),
    },
  };
  const limits = { bytes: MAX_FRAME_BYTES_BEFORE_HELLO - FRAME_HEADER_BYTES, depth: 16, nodes: 1000 };
  assert.ok(encodeValue(largest, limits, 'the hello').byteLength > 2000);
});
