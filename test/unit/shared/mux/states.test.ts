import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  canReceive,
  STREAM_EVENTS,
  STREAM_STATES,
  type StreamEvent,
  type StreamState,
  transition,
} from '../../../../shared/mux/states.ts';

const L = 'half-closed (local)';
const R = 'half-closed (remote)';

/** Every state × event, written out: a dash is what cannot happen. Columns in the order of STREAM_EVENTS. */
const EXPECTED: Record<StreamState, (StreamState | '-')[]> = {
  //                      send OPEN  receive OPEN  send END  receive END  send reset  receive reset  session end
  idle: ['open', 'open', '-', '-', '-', '-', '-'],
  open: ['-', '-', L, R, 'closed', 'closed', 'closed'],
  'half-closed (local)': ['-', '-', '-', 'closed', 'closed', 'closed', 'closed'],
  'half-closed (remote)': ['-', '-', 'closed', '-', 'closed', 'closed', 'closed'],
  closed: ['-', '-', '-', '-', '-', '-', '-'],
};

const EVENTS: StreamEvent[] = [
  'send OPEN',
  'receive OPEN',
  'send END',
  'receive END',
  'send reset',
  'receive reset',
  'session end',
];

test('the table below names every state and every event', () => {
  assert.deepEqual([...STREAM_STATES], Object.keys(EXPECTED));
  assert.deepEqual([...STREAM_EVENTS], EVENTS);
});

for (const state of STREAM_STATES) {
  for (const [index, event] of EVENTS.entries()) {
    const expected = EXPECTED[state][index];
    test(`${state}, ${event}: ${expected}`, () => {
      assert.equal(transition(state, event) ?? '-', expected);
    });
  }
}

test('body frames come in the states that say so', () => {
  assert.deepEqual(STREAM_STATES.filter(canReceive), ['open', L]);
});
