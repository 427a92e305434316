/** A server that keeps to no rules while it greets: the agent ends the session with the right code and is left with nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../shared/clock.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { HELLO_TIMEOUT_MS, MAX_FRAME_BYTES_BEFORE_HELLO } from '../../shared/limits.ts';
import { goaway, heartbeatAck, hello, ping, welcome } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { FLAGS } from '../../shared/mux/frame.ts';
import { greetServer } from '../../shared/mux/handshake.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { memoryPair } from '../support/memory-pair.ts';
import { callKind, HELLO, sessionsOver, settle, welcomeFrom } from '../support/mux.ts';
import { expectEnded, frame, pack } from '../support/mux-faults.ts';

/** An agent's session that is being greeted by whatever is put on the wire. */
function greeted() {
  const clock = new FakeClock();
  const link = memoryPair();
  const { agent } = sessionsOver(link, { clock });
  const outcome = greetServer(agent, HELLO).then(
    () => 'welcomed',
    (error: { code?: string }) => error.code,
  );
  return { clock, agent, outcome, send: (bytes: Uint8Array) => link.server.inject(bytes), violate: link.server };
}

const valid = welcomeFrom(sessionsOver(memoryPair(), { clock: systemClock }).server);
const welcomeOf = (more: object) => frame(welcome.code, 0, 0, pack({ ...valid, ...more }));
const fill = 'x'.repeat(MAX_FRAME_BYTES_BEFORE_HELLO);

const faults: [what: string, code: ErrorCode, bytes: Uint8Array][] = [
  ['a stream', 'PROTOCOL_ERROR', frame(callKind.code, 2, FLAGS.OPEN | FLAGS.END, pack({ text: '' }))],
  ['bytes of a stream', 'PROTOCOL_ERROR', frame(MECHANICS['stream.data'], 1, 0, pack(new Uint8Array(1)))],
  ['a ping', 'PROTOCOL_ERROR', frame(ping.code, 0, 0, pack({ id: 1 }))],
  ['an ack', 'PROTOCOL_ERROR', frame(MECHANICS['session.ack'], 0, 0, pack({ bytes: 0 }))],
  ['a heartbeat.ack', 'PROTOCOL_ERROR', frame(heartbeatAck.code, 0, 0, pack({ seq: 1, time: 1 }))],
  ['a hello', 'PROTOCOL_ERROR', frame(hello.code, 0, 0, pack(HELLO))],
  ['a frame of 4 KiB and a byte', 'FRAME_TOO_LARGE', welcomeOf({ fill }).subarray(0, MAX_FRAME_BYTES_BEFORE_HELLO + 1)],
  ['a welcome with a flag', 'PROTOCOL_ERROR', frame(welcome.code, 0, FLAGS.END, pack(valid))],
  ['an empty welcome', 'MESSAGE_INVALID', frame(welcome.code, 0, 0, pack({}))],
  ['a welcome that is cut short', 'MESSAGE_INVALID', welcomeOf({}).subarray(0, 60)],
  ['a welcome without limits', 'MESSAGE_INVALID', welcomeOf({ limits: undefined })],
  [
    'a welcome with negative limits',
    'MESSAGE_INVALID',
    welcomeOf({ limits: { frameBytes: -1, windowBytes: -1, streams: -1 } }),
  ],
  [
    'a welcome that allows frames smaller than a hello',
    'PROTOCOL_ERROR',
    welcomeOf({ limits: { frameBytes: 4095, windowBytes: 1, streams: 1 } }),
  ],
  ['a welcome that asks for a beat every millisecond', 'MESSAGE_INVALID', welcomeOf({ heartbeatMs: 1 })],
  ['a welcome nested 300 deep', 'MESSAGE_INVALID', frame(welcome.code, 0, 0, Buffer.alloc(300, 0x91))],
  ['a welcome with a version that was not offered', 'VERSION', welcomeOf({ version: 2 })],
  ['a goaway that is none', 'MESSAGE_INVALID', frame(goaway.code, 0, 0, pack({ code: 1 }))],
];

for (const [what, code, bytes] of faults) {
  test(`${what}: ${code}`, async () => {
    const { clock, agent, outcome, send } = greeted();
    send(bytes);
    await expectEnded(agent, code);
    assert.equal(await outcome, code);
    assert.equal(clock.pendingTimers, 0);
  });
}

test('a text message', async () => {
  const { clock, agent, outcome, violate } = greeted();
  violate.violate('a text message');
  await expectEnded(agent, 'PROTOCOL_ERROR');
  assert.equal(await outcome, 'PROTOCOL_ERROR');
  assert.equal(clock.pendingTimers, 0);
});

test('a goaway instead of a welcome: its code reaches the caller', async () => {
  const { clock, agent, outcome, send } = greeted();
  send(frame(goaway.code, 0, 0, pack({ code: 'CERT_REVOKED', reason: 'gone', lastStream: 0 })));
  assert.equal(await outcome, 'CERT_REVOKED');
  const end = await agent.closed;
  assert.equal(end.code, 'CERT_REVOKED');
  assert.equal(end.by, 'remote');
  assert.equal(clock.pendingTimers, 0);
});

test('a server that trickles nothing but time', async () => {
  const { clock, agent, outcome } = greeted();
  clock.advance(HELLO_TIMEOUT_MS - 1);
  await settle();
  assert.equal(agent.draining, false);
  clock.advance(1);
  await expectEnded(agent, 'TIMEOUT');
  assert.equal(await outcome, 'TIMEOUT');
  assert.equal(clock.pendingTimers, 0);
});

test('a welcome that grants nothing: the session lives, and opens no stream', async () => {
  const { agent, outcome, send } = greeted();
  send(welcomeOf({ limits: { frameBytes: 4096, windowBytes: 0, streams: 0 } }));
  assert.equal(await outcome, 'welcomed');
  assert.throws(() => agent.open(callKind, { text: '' }), { code: 'OVERLOADED' });
  assert.equal(agent.openStreams, 0);
});

test('a second welcome on top of the first, in one moment', async () => {
  const { agent, outcome, send } = greeted();
  send(welcomeOf({}));
  send(welcomeOf({}));
  await expectEnded(agent, 'PROTOCOL_ERROR');
  assert.equal(await outcome, 'welcomed');
});
