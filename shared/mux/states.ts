/** The states of a stream and every way from one to another: the table that PROTOCOL.md shows. Pure. */

export const STREAM_STATES = ['idle', 'open', 'half-closed (local)', 'half-closed (remote)', 'closed'] as const;
export type StreamState = (typeof STREAM_STATES)[number];

/** What happens to a stream, seen from one end. A frame with OPEN and END is two events. */
export const STREAM_EVENTS = [
  'send OPEN',
  'receive OPEN',
  'send END',
  'receive END',
  'send reset',
  'receive reset',
  'session end',
] as const;
export type StreamEvent = (typeof STREAM_EVENTS)[number];

const ENDED = { 'send reset': 'closed', 'receive reset': 'closed', 'session end': 'closed' } as const;

/** Where each event leads from each state. What is missing cannot happen, or is the peer's protocol error. */
export const TRANSITIONS: Readonly<Record<StreamState, Readonly<Partial<Record<StreamEvent, StreamState>>>>> = {
  idle: { 'send OPEN': 'open', 'receive OPEN': 'open' },
  open: { 'send END': 'half-closed (local)', 'receive END': 'half-closed (remote)', ...ENDED },
  'half-closed (local)': { 'receive END': 'closed', ...ENDED },
  'half-closed (remote)': { 'send END': 'closed', ...ENDED },
  closed: {},
};

/** The state after `event`, or undefined if the table has no such way. */
export function transition(state: StreamState, event: StreamEvent): StreamState | undefined {
  return TRANSITIONS[state][event];
}

/** Whether body frames may still arrive. */
export function canReceive(state: StreamState): boolean {
  return state === 'open' || state === 'half-closed (local)';
}
