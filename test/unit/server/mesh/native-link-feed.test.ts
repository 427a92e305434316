/** What a host is sent before it has answered, and how long it may take to. */
import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { NativeLink } from '../../../../server/mesh/native-link.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import type { Hello } from '../../../../shared/messages/control.ts';
import { dockerRequest } from '../../../../shared/messages/docker.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { within } from '../../../support/wait.ts';
import { serveStreams } from './served-link.ts';

const hello = { capabilities: [], docker: { reachable: false }, instanceId: 'i' } as unknown as Hello;
const OK = { status: 200, reason: 'OK', headers: [], upgraded: false };
const params = { method: 'POST', target: '/images/load', headers: [], body: 'chunked' as const };

type Asked = MuxStream<typeof dockerRequest>;

async function linkTo(t: TestContext, handle: (stream: Asked) => Promise<void>): Promise<NativeLink> {
  const { server } = await serveStreams(t, (stream) => handle(stream as unknown as Asked));
  return new NativeLink({ hostId: 'h', session: server, hello, connectedAt: 0 });
}

test('what a stream is fed with is at the host before its reply', async (t) => {
  const link = await linkTo(t, async (stream) => {
    // Only then is there anything to say.
    const body = await buffer(stream.bytes);
    stream.sendReply({ ...OK, reason: String(body) });
    stream.finish({ headers: [] });
  });
  const stream = await link.open(dockerRequest, params, { feed: (bytes) => void bytes.end('an image') });
  assert.equal(stream.reply.reason, 'an image');
  assert.equal((await buffer(stream.bytes)).byteLength, 0);
  assert.deepEqual(await stream.trailer, { headers: [] });
});

test('the host may reply, and answer, while it is still being fed', async (t) => {
  const link = await linkTo(t, async (stream) => {
    stream.sendReply(OK);
    for await (const chunk of stream.bytes) stream.bytes.write(chunk);
    stream.finish({ headers: [] });
  });
  const later = Promise.withResolvers<void>();
  const feed = (bytes: NodeJS.WritableStream) => {
    bytes.write('first ');
    void later.promise.then(() => bytes.end('second'));
  };
  const stream = await link.open(dockerRequest, params, { feed });
  later.resolve();
  assert.equal(String(await within(5_000, 'the echo', buffer(stream.bytes))), 'first second');
});

test('a feed that breaks off resets the stream: the host never takes it for whole', async (t) => {
  const outcome = Promise.withResolvers<unknown>();
  const link = await linkTo(t, async (stream) => {
    stream.bytes.on('end', () => outcome.resolve('it looks whole'));
    stream.aborted.addEventListener('abort', () => outcome.resolve(stream.aborted.reason));
    stream.bytes.resume();
  });
  const feed = (bytes: NodeJS.WritableStream & { destroy(error: Error): unknown }) => {
    bytes.write('half');
    bytes.destroy(new FairleadError('CANCELLED', 'the client went away'));
  };
  await assert.rejects(link.open(dockerRequest, params, { feed }), (error) => isFairleadError(error, 'CANCELLED'));
  assert.ok(isFairleadError(await within(5_000, 'the reset', outcome.promise), 'CANCELLED'));
});

test('a host has 30 s for its reply, or as long as it takes', async (t) => {
  const asked: Asked[] = [];
  const link = await linkTo(t, async (stream) => void asked.push(stream));
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const limited = link.open(dockerRequest, params);
  const patient = link.open(dockerRequest, params, { timeoutMs: Number.POSITIVE_INFINITY });
  const failing = assert.rejects(limited, (error) => isFairleadError(error, 'TIMEOUT'));
  while (asked.length < 2) await setImmediate();
  t.mock.timers.tick(29_999);
  t.mock.timers.tick(1);
  await failing;
  t.mock.timers.tick(3600_000);
  t.mock.timers.reset();
  asked[1]?.sendReply(OK);
  assert.equal((await patient).reply.status, 200);
});
