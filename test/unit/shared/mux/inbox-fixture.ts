/** The receiving end of a stream, with a small window. */
import { Inbox } from '../../../../shared/mux/inbox.ts';
import type { SessionLimits } from '../../../../shared/mux/session-limits.ts';
import type { Inbound } from '../../../../shared/mux/stream-role.ts';
import { FakeHost } from './fake-host.ts';

export const WINDOW = 1000;
export const ONE = Buffer.of(1);
export const NO_PARTS: readonly Uint8Array[] = [];

/** An inbox, what it grants, and how often it says that something has changed. */
export function make(options: { inbound?: Inbound; limits?: Partial<SessionLimits> } = {}) {
  const host = new FakeHost({
    initialWindowBytes: WINDOW,
    maxWindowBytes: 8 * WINDOW,
    windowShareBytes: 100,
    messageBytes: 5000,
    ...options.limits,
  });
  host.roundTripMs = 1;
  const grants: number[] = [];
  const inbox = new Inbox(host, options.inbound ?? 'bytes', (limit) => grants.push(limit));
  const changes = { count: 0 };
  inbox.onChange = () => {
    changes.count += 1;
  };
  return { host, inbox, grants, changes };
}

/** All bytes that wait. */
export function readAll(inbox: Inbox): Buffer {
  const chunks: Uint8Array[] = [];
  for (let chunk = inbox.nextChunk(); chunk !== undefined; chunk = inbox.nextChunk()) chunks.push(chunk);
  return Buffer.concat(chunks);
}
