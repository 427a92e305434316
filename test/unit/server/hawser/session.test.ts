/** A session with an agent of Hawser: whatever it sends, or does not, whoever waits is told and nothing grows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ask, stream } from '../../../../server/hawser/ask.ts';
import { EdgeTerminal } from '../../../../server/hawser/edge-terminal.ts';
import { EdgeTransport } from '../../../../server/hawser/edge-transport.ts';
import { HawserLink } from '../../../../server/hawser/hawser-link.ts';
import { EDGE_KINDS } from '../../../../server/hawser/kinds.ts';
import {
  DROPPED,
  HARD_BUFFER_BYTES,
  INVALID,
  MAX_OPEN,
  PAUSE_MS,
  PING_MS,
  REQUEST_GRACE_MS,
  SILENT_MS,
  SOFT_BUFFER_BYTES,
} from '../../../../server/hawser/limits.ts';
import { HawserSession } from '../../../../server/hawser/session.ts';
import { neverSent } from '../../../../server/hawser/unary.ts';
import { containerList, containerLogStream } from '../../../../shared/messages/container.ts';
import { dockerRequest } from '../../../../shared/messages/docker.ts';
import { Once } from '../../../../shared/once.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { FakeSocket } from './fake-socket.ts';

const GET = { method: 'GET', path: '/x' };
const log = { debug: () => undefined, warn: () => undefined, error: () => undefined };

function setUp() {
  const socket = new FakeSocket();
  const clock = new FakeClock();
  const session = new HawserSession({ ws: socket.ws, clock, log });
  return { socket, clock, session };
}

const base64 = (bytes: Buffer | string) => Buffer.from(bytes).toString('base64');

test('an answer comes whole, as text or as base64, and one request takes one answer', async () => {
  const { socket, session } = setUp();
  const asked = ask(session, { ...GET, headers: { A: 'b' }, json: '{"n":12345678901234567890}' });
  const request = await socket.heard('request');
  assert.deepEqual({ ...request, requestId: '' }, { ...request, requestId: '', method: 'GET', streaming: false });
  socket.say({ type: 'response', requestId: request.requestId, statusCode: 200, headers: null, body: 'ü' });
  socket.say({ type: 'response', requestId: request.requestId, statusCode: 500, body: 'again' });
  assert.deepEqual(await asked, { status: 200, headers: {}, body: Buffer.from('ü') });
  const second = ask(session, GET);
  const { requestId } = socket.ofType('request')[1];
  socket.say({ type: 'response', requestId, statusCode: 200, body: base64(Buffer.of(0, 255)), isBinary: true });
  assert.deepEqual((await second).body, Buffer.of(0, 255));
  assert.equal(session.oddities.unknownIds, 1);
  session.close('SHUTDOWN', 'the test is over');
});

test('large numbers of a body go out as they came', async () => {
  const { socket, session } = setUp();
  const texts: string[] = [];
  socket.send = (text: string) => void texts.push(text);
  const asked = ask(session, { ...GET, json: '{"n":12345678901234567890}' });
  assert.match(texts[0] ?? '', /"body":\{"n":12345678901234567890\}\}$/);
  session.close('SHUTDOWN', 'the test is over');
  await assert.rejects(asked, { code: 'STREAM_INTERRUPTED' });
});

test('base64 that is none, and errors of either spelling, fail the one request that they are of', async () => {
  const { socket, session } = setUp();
  const asked = ask(session, GET);
  const other = ask(session, GET);
  const [first, second] = socket.ofType('request');
  socket.say({ type: 'response', requestId: first.requestId, statusCode: 200, body: '!!!', isBinary: true });
  await assert.rejects(asked, { code: 'MESSAGE_INVALID' });
  socket.say({ type: 'error', requestId: second.requestId, message: 'dial unix: no such file', code: 'DOCKER_ERROR' });
  await assert.rejects(other, { code: 'DOCKER_UNREACHABLE', message: /dial unix/ });
  const bytes = stream(session, GET);
  socket.say({ type: 'stream', requestId: socket.ofType('request')[2].requestId, data: '!!!' });
  await assert.rejects(async () => await bytes.toArray(), { code: 'MESSAGE_INVALID' });
  assert.equal(socket.closedWith, undefined);
  session.close('SHUTDOWN', 'the test is over');
});

test('a request without an answer ends in time, and its late answer is for nobody', async () => {
  const { socket, clock, session } = setUp();
  const asked = ask(session, GET, { timeoutMs: 1_000 });
  clock.advance(1_000);
  await assert.rejects(asked, { code: 'TIMEOUT' });
  assert.equal(session.open, 0);
  socket.say({ type: 'response', requestId: socket.ofType('request')[0].requestId, statusCode: 200 });
  assert.equal(session.oddities.unknownIds, 1);
  session.close('SHUTDOWN', 'the test is over');
});

test('how long an answer may take can be set; a stream may take as long as it likes', async () => {
  const { socket, clock, session } = setUp();
  const hello = { type: 'hello', version: '0.2.14', protocol: '1.0', agentId: 'a', agentName: 'lab' } as const;
  const link = new HawserLink({
    ...{ hostId: 'h', transport: new EdgeTransport(session), kinds: EDGE_KINDS, hello, connectedAt: 0 },
    ...{ once: new Once({ clock, undone: neverSent }), log, requestMs: 5_000 },
  });
  const answer = (body: string) => {
    const { requestId } = socket.ofType('request').findLast(({ path }) => path !== '/info');
    socket.say({ type: 'response', requestId, statusCode: 200, body });
  };
  const following = link.open(containerLogStream, { id: 'web', follow: true });
  await socket.heard('request');
  answer('{"Config":{"Tty":true}}');
  const { bytes } = await following;
  const listed = link.call(containerList, {});
  const passed = link.open(dockerRequest, { method: 'GET', target: '/info', headers: [], body: 'none' });
  const patient = link.call(containerList, {}, { timeoutMs: 60_000 });
  passed.catch(() => undefined);
  await turn();
  clock.advance(5_000);
  await assert.rejects(listed, { code: 'TIMEOUT' });
  clock.advance(REQUEST_GRACE_MS);
  await assert.rejects(passed, { code: 'TIMEOUT' });
  clock.advance(30_000);
  answer('[]');
  assert.deepEqual(await patient, { count: 0 });
  assert.equal(bytes.destroyed, false);
  session.close('SHUTDOWN', 'the test is over');
});

test('a stream that is left is told to end, again for as long as it sends', async () => {
  const { socket, clock, session } = setUp();
  const bytes = stream(session, GET);
  const { requestId } = await socket.heard('request');
  socket.say({ type: 'stream', requestId, data: base64('a') });
  bytes.destroy();
  await turn();
  assert.equal(socket.ofType('stream_end').length, 1);
  for (let n = 0; n < 50; n++) socket.say({ type: 'stream', requestId, data: base64('b') });
  assert.equal(socket.ofType('stream_end').length, 1);
  clock.advance(250);
  socket.say({ type: 'stream', requestId, data: base64('c') });
  assert.equal(socket.ofType('stream_end').length, 2);
  socket.say({ type: 'stream', requestId: 'of-another-session', data: base64('c') });
  assert.equal(socket.ofType('stream_end').length, 3);
  socket.say({ type: 'exec_output', execId: 'of-another-session-too', data: base64('c') });
  assert.equal(socket.ofType('exec_end').length, 1);
  session.close('SHUTDOWN', 'the test is over');
});

test('a reader that is slow has the socket paused for moments, and loses its stream in the end; others go on', async () => {
  const { socket, clock, session } = setUp();
  const slow = stream(session, GET);
  const other = stream(session, GET);
  const [first, second] = socket.ofType('request');
  const chunk = base64(Buffer.alloc(48 * 1024));
  const fill = (bytes: number) => {
    for (let sent = 0; sent <= bytes; sent += 48 * 1024) {
      socket.say({ type: 'stream', requestId: first.requestId, data: chunk });
    }
  };
  fill(SOFT_BUFFER_BYTES);
  assert.equal(socket.isPaused, true);
  clock.advance(PAUSE_MS);
  assert.equal(socket.isPaused, false);
  clock.advance(100);
  assert.equal(socket.isPaused, true);
  // Whoever reads on frees the socket at once.
  slow.resume();
  await turn();
  assert.equal(socket.isPaused, false);
  slow.pause();
  fill(HARD_BUFFER_BYTES + SOFT_BUFFER_BYTES);
  await turn();
  assert.equal(slow.destroyed, true);
  assert.equal((slow.errored as { code?: string } | null)?.code, 'OVERLOADED');
  assert.equal(session.gate.bytes, 0);
  assert.ok(socket.ofType('stream_end').some(({ requestId }) => requestId === first.requestId));
  socket.say({ type: 'stream', requestId: second.requestId, data: base64('fine') });
  socket.say({ type: 'stream_end', requestId: second.requestId, reason: 'completed' });
  assert.equal(Buffer.concat(await other.toArray()).toString(), 'fine');
  session.close('SHUTDOWN', 'the test is over');
});

test('all who wait are told when the socket goes, and never as if all had come', async () => {
  const { socket, session } = setUp();
  const asked = ask(session, GET);
  const pinged = session.ping();
  const bytes = stream(session, GET);
  socket.say({ type: 'stream', requestId: socket.ofType('request')[1].requestId, data: base64('half') });
  socket.terminate();
  await assert.rejects(asked, { code: 'STREAM_INTERRUPTED' });
  await assert.rejects(pinged, { code: 'STREAM_INTERRUPTED' });
  await assert.rejects(async () => await bytes.toArray(), { code: 'STREAM_INTERRUPTED' });
  assert.equal((await session.closed).code, 'STREAM_INTERRUPTED');
  assert.throws(() => session.begin({ sort: 'request', end: () => undefined, fail: () => undefined }), {
    code: 'HOST_OFFLINE',
  });
});

test('pings go both ways as messages, and silence ends the session', async () => {
  const { socket, clock, session } = setUp();
  socket.say({ type: 'ping', timestamp: 1 });
  assert.equal(socket.ofType('pong').length, 1);
  const pinged = session.ping();
  clock.advance(30);
  socket.say({ type: 'pong', timestamp: 1 });
  assert.equal(await pinged, 30);
  clock.advance(PING_MS + PING_MS / 4);
  assert.ok(socket.ofType('ping').length >= 2);
  clock.advance(SILENT_MS);
  assert.equal((await session.closed).code, 'TIMEOUT');
  assert.equal(socket.closedWith?.code, 1008);
});

test('messages that are not valid, of an unknown type, or binary are counted, and too many end the session', async () => {
  const { socket, clock, session } = setUp();
  socket.say({ type: 'bogus' });
  socket.say('{"type":"ping"}', true);
  socket.say('{');
  assert.deepEqual(session.oddities, { unknownTypes: 1, unknownIds: 0, invalid: 2, dropped: 0 });
  // A few now and then are no reason, however many they come to.
  for (let n = 0; n < 3 * INVALID.burst; n++) {
    clock.advance(1_000 / INVALID.perSecond);
    socket.say({ type: 'response', requestId: 5 });
  }
  assert.equal(socket.closedWith, undefined);
  for (let n = 0; n <= INVALID.burst; n++) socket.say({ type: 'response', requestId: 5 });
  assert.equal((await session.closed).code, 'PROTOCOL_ERROR');
});

test('a failure of the server itself ends the one session that it happened in, and is logged', async () => {
  const errors: unknown[] = [];
  const socket = new FakeSocket();
  const session = new HawserSession({
    ...{ ws: socket.ws, clock: new FakeClock() },
    log: { ...log, error: (...args: unknown[]) => void errors.push(args) },
    onMetrics: () => {
      throw new TypeError('a mistake');
    },
  });
  const asked = ask(session, GET);
  socket.say({ type: 'metrics', timestamp: 1, metrics: { cpuUsage: 1, cpuCores: 1, memoryTotal: 1, memoryUsed: 1 } });
  assert.equal((await session.closed).code, 'INTERNAL');
  await assert.rejects(asked, { code: 'STREAM_INTERRUPTED' });
  assert.equal(errors.length, 1);
});

test('a flood of what nobody waits for is dropped, and ends the session', async () => {
  const { socket, session } = setUp();
  for (let n = 0; n < 10_000; n++) socket.say({ type: 'ping' });
  assert.ok(socket.ofType('pong').length <= 2_100);
  assert.equal(socket.closedWith, undefined);
  for (let n = 0; n < DROPPED.burst; n++) socket.say({ type: `t${n}` });
  assert.equal((await session.closed).code, 'PROTOCOL_ERROR');
});

test('an answer of another sort than was asked for fails what it is of, and nobody waits for ever', async () => {
  const { socket, session } = setUp();
  const asked = ask(session, GET);
  const terminal = new EdgeTerminal(session);
  const started = terminal.start({ containerId: 'web', cmd: 'sh', user: '', cols: 80, rows: 24 }, {});
  const { requestId } = await socket.heard('request');
  const { execId } = await socket.heard('exec_start');
  socket.say({ type: 'exec_output', execId: requestId, data: base64('x') });
  socket.say({ type: 'stream', requestId: execId, data: base64('x') });
  assert.equal(terminal.bytes.readableLength, 0);
  socket.say({ type: 'stream_end', requestId });
  await assert.rejects(asked, { code: 'DOCKER_ERROR' });
  socket.say({ type: 'response', requestId: execId, statusCode: 200 });
  await assert.rejects(started, { code: 'MESSAGE_INVALID' });
  const other = new EdgeTerminal(session);
  const refused = other.start({ containerId: 'web', cmd: 'sh', user: '', cols: 80, rows: 24 }, {});
  socket.say({ type: 'error', requestId: other.id, error: 'exec create failed: 404 - no such container' });
  await assert.rejects(refused, { code: 'CONTAINER_NOT_FOUND' });
  assert.equal(socket.ofType('exec_input').length, 0);
  assert.equal(session.open, 0);
  session.close('SHUTDOWN', 'the test is over');
});

test('an exec that begins when nobody waits for it any more is told to end', async () => {
  const { socket, clock, session } = setUp();
  const terminal = new EdgeTerminal(session);
  const start = { containerId: 'web', cmd: 'cat', user: '', cols: 80, rows: 24 };
  const started = terminal.start(start, { timeoutMs: 1_000 });
  clock.advance(1_000);
  await assert.rejects(started, { code: 'TIMEOUT' });
  const { execId } = await socket.heard('exec_start');
  await waitFor('the end of the exec', () => {
    clock.advance(100);
    return socket.ofType('exec_end').length === 1;
  });
  clock.advance(1_000);
  socket.say({ type: 'exec_ready', execId });
  assert.equal(socket.ofType('exec_end').length, 2);
  session.close('SHUTDOWN', 'the test is over');
});

test('a message that is too large ends the session, and says what it was', async () => {
  const { socket, session } = setUp();
  const asked = ask(session, GET);
  const error = Object.assign(new Error('Max payload size exceeded'), { code: 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' });
  socket.emit('error', error);
  const { code, message } = await session.closed;
  assert.deepEqual([code, socket.closedWith?.code], ['FRAME_TOO_LARGE', 1009]);
  assert.match(message, /cannot be streamed/);
  await assert.rejects(asked, { code: 'STREAM_INTERRUPTED', message: /too large/ });
});

test('an agent that does not read is sent no more than so much, and is cut off', async () => {
  const { socket, clock, session } = setUp();
  socket.bufferedAmount = 17 * 1024 * 1024;
  await assert.rejects(ask(session, GET), { code: 'OVERLOADED' });
  assert.equal(session.open, 0);
  socket.say({ type: 'ping' });
  assert.equal(socket.sent.length, 0);
  for (let s = 0; s < SILENT_MS + 10_000; s += 5_000) {
    clock.advance(5_000);
    socket.say({ type: 'metrics', timestamp: 1, metrics: { cpuUsage: 1, cpuCores: 1, memoryTotal: 1, memoryUsed: 1 } });
  }
  assert.match((await session.closed).message, /does not read/);
});

test('a host has so many requests at once, and no more', async () => {
  const { session } = setUp();
  const asked = Array.from({ length: MAX_OPEN }, () => ask(session, GET).catch(() => undefined));
  await assert.rejects(ask(session, GET), { code: 'OVERLOADED' });
  session.close('SHUTDOWN', 'the test is over');
  await Promise.all(asked);
});
