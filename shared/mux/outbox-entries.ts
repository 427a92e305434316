/** What waits in an outbox, and how much of it one frame can take. */
import { MECHANICS } from '../messages/mechanics.ts';
import { binHead } from './frame.ts';

/** Called once the last byte was sent, or with the error that prevented it. */
export type Sent = (error?: Error) => void;

/** One chunk of a stream's bytes, or one message. */
export interface Entry {
  readonly type: number;
  readonly bytes: Uint8Array;
  /** How much of `bytes` has been sent. */
  offset: number;
  readonly needsCredit: boolean;
  readonly sent: Sent | undefined;
}

export function remaining(entry: Entry): number {
  return entry.bytes.byteLength - entry.offset;
}

/** How many bytes one frame could take at once, up to `most`: of all chunks that wait side by side, or of one message. */
export function waitingBytes(entries: readonly Entry[], most: number): number {
  let length = 0;
  for (const entry of entries) {
    if (length >= most || entry.type !== entries[0]?.type) break;
    length += remaining(entry);
    if (entry.type !== MECHANICS['stream.data']) break;
  }
  return Math.min(most, length);
}

/** The payload of one frame that holds the first `length` bytes that wait; they stay where they are. */
export function payloadOf(entries: readonly Entry[], length: number): Uint8Array {
  const parts = entries[0]?.type === MECHANICS['stream.data'] ? [binHead(length)] : [];
  let left = length;
  for (const { bytes, offset } of entries) {
    if (left === 0) break;
    const part = bytes.subarray(offset, offset + left);
    parts.push(part);
    left -= part.byteLength;
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

/** Calls back for the entries whose last byte is in the frame. */
export function callAll(entries: readonly Entry[], end: (() => void) | undefined): (() => void) | undefined {
  const callbacks = entries.filter((entry) => remaining(entry) === 0 && entry.sent !== undefined);
  if (callbacks.length === 0) return end;
  return () => {
    for (const entry of callbacks) entry.sent?.();
    end?.();
  };
}
