/** What each end of a stream of some kind may send, and how far the acceptor's messages have come. */
import type { StreamKind } from '../messages/kind.ts';

/** The two ends of a stream: who opened it, and who answers. */
export type StreamRole = 'opener' | 'acceptor';

/** Which message of the acceptor comes next. */
export type StreamPhase = 'reply' | 'body' | 'end';

/** Whether an end of a stream of this kind sends bytes. */
export function sendsBytes(kind: StreamKind, role: StreamRole): boolean {
  return kind.bytes === 'both' || kind.bytes === role;
}

/** What comes in at an end of a stream: nothing beyond messages without credit, items, or raw bytes alone. */
export type Inbound = 'nothing' | 'items' | 'bytes';

export function inboundOf(kind: StreamKind, role: StreamRole): Inbound {
  if (role === 'opener' && kind.item !== undefined) return 'items';
  return sendsBytes(kind, role === 'opener' ? 'acceptor' : 'opener') ? 'bytes' : 'nothing';
}

/** Whether the acceptor's reply is all it sends. */
export function isUnary(kind: StreamKind): boolean {
  return kind.item === undefined && kind.trailer === undefined && !sendsBytes(kind, 'acceptor');
}
