/** One attempt to carry a volume from one host to the other: nothing of it is held here but what is on its way. */
import type { Readable } from 'node:stream';
import { FairleadError } from '../../shared/errors.ts';
import type { Reply, Trailer } from '../../shared/messages/kind.ts';
import * as kinds from '../../shared/messages/volume-content.ts';
import { pump } from '../../shared/pump.ts';
import type { HostLink, LinkStream } from '../hosts/host-link.ts';

/** Time for a host to read what it has already, and to hash it. */
const PREPARE_MS = 60 * 60_000;
/** Time for the source to come to where the target has stopped. */
const SEND_MS = 6 * 60 * 60_000;
/** Time for the target to unpack it, and to compare. */
const APPLY_MS = 12 * 60 * 60_000;
const RECEIVE_MS = 60_000;
const DISCARD_MS = 30_000;

export interface Carried {
  readonly id: string;
  readonly from: { readonly volume: string };
  readonly to: { readonly volume: string };
  readonly replaces: boolean;
  readonly forced: boolean;
  /** What is known from an attempt before. */
  readonly total: number | undefined;
}

/** What is told of an attempt as it goes on. */
export interface CarryEvents {
  /** Bytes begin to come, behind so many that the target has. */
  begun(offset: number, total: number | undefined): void;
  came(bytes: number): void;
  /** It begins anew. @throws FairleadError when that has happened too often */
  restarts(why: string): void;
  applying(): void;
}

type Make = Reply<typeof kinds.volumeTransferSend>['make'];
type Sum = Trailer<typeof kinds.volumeTransferSend>;

/**
 * Carries what the target lacks, and lets it put all of it in place.
 * @throws FairleadError, the signal's reason among them; the target's volume is as it was then
 */
export async function carry(
  job: Carried,
  { from, to }: { from: HostLink; to: HostLink },
  events: CarryEvents,
  signal: AbortSignal,
): Promise<void> {
  const { id, replaces: replace, forced: force } = job;
  const { volume } = job.to;
  const prepared = { id, volume, replace, force };
  const had = await to.call(kinds.volumeTransferPrepare, prepared, { signal, timeoutMs: PREPARE_MS });
  if (had.done) return;
  const { make, sum } = await carryBytes(job, { from, to }, had, events, signal);
  signal.throwIfAborted();
  events.applying();
  // Not ended by anybody: what was begun on the host ends there.
  await to.call(kinds.volumeTransferApply, { ...prepared, ...sum, make }, { timeoutMs: APPLY_MS });
}

/** Lets the target forget what it has. Never rejects: what nobody asks for is swept there. */
export async function discard(id: string, to: HostLink | undefined): Promise<void> {
  await to?.call(kinds.volumeTransferDiscard, { id }, { timeoutMs: DISCARD_MS }).catch(() => undefined);
}

async function carryBytes(
  job: Carried,
  { from, to }: { from: HostLink; to: HostLink },
  had: { readonly offset: number; readonly sha256: string },
  events: CarryEvents,
  signal: AbortSignal,
): Promise<{ make: Make; sum: Sum }> {
  const { id, forced: force } = job;
  const { volume } = job.from;
  const params = { volume, force, offset: had.offset, ...(had.offset > 0 ? { sha256: had.sha256 } : {}) };
  const source = await from.open(kinds.volumeTransferSend, params, { signal, timeoutMs: SEND_MS });
  let sink: LinkStream<typeof kinds.volumeTransferReceive> | undefined;
  try {
    const { offset, estimatedBytes, make } = source.reply;
    if (offset !== had.offset && offset !== 0) throw new FairleadError('MESSAGE_INVALID', 'the source left bytes out');
    if (offset !== had.offset) events.restarts('the volume has changed since');
    const total = estimatedBytes ?? job.total;
    const estimate = total === undefined ? {} : { estimatedBytes: total };
    sink = await to.open(kinds.volumeTransferReceive, { id, offset, ...estimate }, { signal, timeoutMs: RECEIVE_MS });
    events.begun(offset, total);
    await pump(counted(source.bytes, events), sink.bytes, signal);
    sink.bytes.end();
    const [sum, received] = await Promise.all([source.trailer, sink.trailer]);
    if (sum.bytes !== received.bytes || sum.sha256 !== received.sha256) {
      await discard(id, to);
      events.restarts('what was received was not what was sent');
      throw new FairleadError('STREAM_INTERRUPTED', 'what was received was not what was sent');
    }
    return { make, sum };
  } catch (error) {
    // What one end fails with is why the other one stops.
    const reason = new FairleadError('CANCELLED', 'the transfer does not go on');
    source.reset(reason);
    sink?.reset(reason);
    throw error;
  }
}

/** `source`, which flows from now on: to be pumped in the same turn. */
function counted(source: Readable, events: CarryEvents): Readable {
  return source.on('data', (chunk: Buffer) => events.came(chunk.byteLength));
}
