/** Serves executables of releases to the agents that they were offered to: a few at once, so that hosts' other streams go on. */
import { type FileHandle, open } from 'node:fs/promises';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, fromWireError, isFairleadError, toWireError } from '../../shared/errors.ts';
import type { releaseRead } from '../../shared/messages/release.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { pump } from '../../shared/pump.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import { Turns } from '../turns.ts';

/** Reads at once, over all hosts; a host has one. */
const MAX_READS = 16;
/** Reads that may wait for their turn, over all hosts, and for how long. An agent asks again. */
const MAX_WAITING = 1_000;
const WAIT_MS = 120_000;
/** After so long without a byte taken, a read is over; after so long in all, too. An agent goes on where it was. */
const STALL_MS = 60_000;
const READ_MS = 1_800_000;
/** While others wait: what is taken of a read at least within STALL_MS, and how long its turn lasts. The agent asks again. */
const LEAST_BYTES = 1024 * 1024;
const SHARED_TURN_MS = 300_000;
const EVERYONE = 'all';

type ReadStream = MuxStream<typeof releaseRead>;

export interface ReleaseReadsDeps {
  readonly clock: Clock;
  /** The release with this SHA-256 if it was offered to the host. */
  offered(hostId: string, sha256: string): SignedRelease | undefined;
  /** Where its compressed executable is. */
  path(signed: SignedRelease): string;
}

export class ReleaseReads {
  readonly #deps: ReleaseReadsDeps;
  readonly #turns = new Turns(MAX_READS);
  /** Hosts that read, or wait to. */
  readonly #hosts = new Set<string>();
  /** Reads that are being ended for those that wait. */
  readonly #leaving = new Set<ReadStream>();

  constructor(deps: ReleaseReadsDeps) {
    this.#deps = deps;
  }

  /** Answers a stream of a host to its end. Never rejects: the stream is reset with what went wrong. */
  async serve(hostId: string, stream: ReadStream): Promise<void> {
    try {
      await this.#serve(hostId, stream);
    } catch (error) {
      stream.reset(isFairleadError(error) ? error : fromWireError(toWireError(error)));
    }
  }

  async #serve(hostId: string, stream: ReadStream): Promise<void> {
    const signed = this.#deps.offered(hostId, stream.params.sha256);
    if (signed === undefined) {
      throw new FairleadError('FORBIDDEN', 'no release with this SHA-256 was offered to this host');
    }
    const endTurn = await this.#turn(hostId, stream.aborted);
    try {
      const file = await this.#open(signed);
      try {
        await this.#send(file, stream);
      } finally {
        await file.close();
      }
    } finally {
      endTurn();
    }
  }

  /** @throws FairleadError OVERLOADED, the signal's reason */
  async #turn(hostId: string, signal: AbortSignal): Promise<() => void> {
    if (this.#hosts.has(hostId)) throw overloaded('this host reads one already');
    if (this.#hosts.size >= MAX_READS + MAX_WAITING) throw overloaded('too many hosts wait for their turn');
    this.#hosts.add(hostId);
    const late = new AbortController();
    const timer = this.#deps.clock.setTimeout(() => late.abort(overloaded('no turn came in time')), WAIT_MS);
    try {
      const end = await this.#turns.take(EVERYONE, AbortSignal.any([signal, late.signal]));
      return () => {
        this.#hosts.delete(hostId);
        end();
      };
    } catch (error) {
      this.#hosts.delete(hostId);
      throw error;
    } finally {
      timer.cancel();
    }
  }

  get #isAwaited(): boolean {
    return this.#hosts.size - this.#leaving.size > MAX_READS;
  }

  async #open(signed: SignedRelease): Promise<FileHandle> {
    try {
      return await open(this.#deps.path(signed), 'r');
    } catch (cause) {
      throw new FairleadError('NOT_FOUND', `the executable of the release ${signed.version} is not there any more`, {
        cause,
      });
    }
  }

  async #send(file: FileHandle, stream: ReadStream): Promise<void> {
    const { offset } = stream.params;
    const { size: totalBytes } = await file.stat();
    if (offset > totalBytes) {
      throw new FairleadError(
        'VALIDATION',
        `the offset ${offset} is beyond the end of the file, which has ${totalBytes} bytes`,
      );
    }
    stream.sendReply({ totalBytes });
    const { signal, stop } = this.#watch(stream);
    try {
      if (offset < totalBytes) await copy(file, stream, totalBytes - offset, signal);
      stream.bytes.end();
      await untilClosed(stream, signal);
    } finally {
      stop();
    }
  }

  /** A signal that fires when the stream is over, nobody takes what is sent, or it is taken too slowly while others wait. */
  #watch(stream: ReadStream): { signal: AbortSignal; stop(): void } {
    const { clock } = this.#deps;
    const ending = new AbortController();
    const end = (why: string) => ending.abort(new FairleadError('TIMEOUT', `the release was not taken: ${why}`));
    const endsAt = clock.monotonic() + SHARED_TURN_MS;
    let seen = 0;
    const stall = clock.setInterval(() => {
      const { sent } = stream.flow;
      const taken = sent - seen;
      seen = sent;
      if (taken === 0) end(`nothing of it for ${STALL_MS / 1000} s`);
      else if (this.#isAwaited && (taken < LEAST_BYTES || clock.monotonic() >= endsAt)) {
        this.#leaving.add(stream);
        ending.abort(overloaded('others wait, and this one was slow or has had its time'));
      }
    }, STALL_MS);
    const deadline = clock.setTimeout(() => end(`not all of it within ${READ_MS / 1000} s`), READ_MS);
    const stop = () => {
      this.#leaving.delete(stream);
      stall.cancel();
      deadline.cancel();
    };
    return { signal: AbortSignal.any([stream.aborted, ending.signal]), stop };
  }
}

/** @throws FairleadError INTERNAL if the file is cut off while it is read, the signal's reason */
async function copy(file: FileHandle, stream: ReadStream, length: number, signal: AbortSignal): Promise<void> {
  const source = file.createReadStream({ start: stream.params.offset, autoClose: false });
  try {
    await pump(source, stream.bytes, signal, length);
  } catch (cause) {
    if (!isFairleadError(cause, 'VALIDATION')) throw cause;
    throw new FairleadError('INTERNAL', 'the executable has changed while it was read', { cause });
  } finally {
    source.destroy();
  }
}

/** @throws what the stream was broken off with, the signal's reason */
async function untilClosed(stream: ReadStream, signal: AbortSignal): Promise<void> {
  const { promise: over, reject } = Promise.withResolvers<never>();
  over.catch(() => undefined); // the one below may have ended first
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort);
  try {
    signal.throwIfAborted();
    const broken = await Promise.race([stream.closed, over]);
    if (broken !== undefined) throw broken;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function overloaded(why: string): FairleadError {
  return new FairleadError('OVERLOADED', `releases are read in turns: ${why}; ask again later`, {
    retryAfterSeconds: 30,
  });
}
