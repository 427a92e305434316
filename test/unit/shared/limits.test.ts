/** Relations between limits that other code relies on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as limits from '../../../shared/limits.ts';

test('every limit is a positive safe integer', () => {
  for (const [name, value] of Object.entries(limits)) {
    assert.ok(Number.isSafeInteger(value) && value > 0, `${name} is ${value}`);
  }
});

test('a frame that a sender makes fits the frame limit, header and MessagePack head included', () => {
  assert.ok(limits.FRAME_PAYLOAD_BYTES + 8 + 5 <= limits.MAX_FRAME_BYTES);
});

test('a signal fits one frame, and a frame before hello is no larger than one after', () => {
  assert.ok(limits.MAX_SIGNAL_BYTES < limits.FRAME_PAYLOAD_BYTES);
  assert.ok(limits.MAX_FRAME_BYTES_BEFORE_HELLO < limits.MAX_FRAME_BYTES);
});

test('the session budget covers the initial window of as many streams as may be unanswered', () => {
  assert.ok(limits.MAX_UNANSWERED_OPENS * limits.INITIAL_WINDOW_BYTES <= limits.SESSION_BUDGET_BYTES);
  assert.ok(limits.MAX_UNANSWERED_OPENS <= limits.MAX_OPEN_STREAMS);
});

test('silence outlasts two lost heartbeats', () => {
  assert.ok(limits.SILENCE_MS >= 3 * limits.HEARTBEAT_MS);
});

test('a drain ends well within the ten seconds that a stop may take', () => {
  assert.ok(limits.GOAWAY_DEADLINE_MS <= 8_000);
});

test('a reconnect delay grows', () => {
  assert.ok(limits.RECONNECT_MIN_MS < limits.RECONNECT_MAX_MS);
});

test('leaves live shorter than the CA', () => {
  assert.ok(limits.AGENT_CERT_DAYS < limits.SERVER_CERT_DAYS);
  assert.ok(limits.SERVER_CERT_DAYS < limits.CA_CERT_DAYS);
});
