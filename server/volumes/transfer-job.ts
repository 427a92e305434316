/** A transfer that has not ended: where it stands, who waits for news of it, and when it may be tried again. */
import { Backoff } from '../../shared/backoff.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { VolumeTransferProgress, VolumeTransferRow } from '../store/volume-transfers.ts';
import type { CarryEvents } from './carry.ts';

/** How often a transfer whose source changes begins anew. */
const MAX_RESTARTS = 1;
const RETRY = { minMs: 1_000, maxMs: 60_000 };
/** How long an attempt may bring nothing, once it has begun to. */
const STALL_MS = 10 * 60_000;
/** Over how long the rate is taken. */
const RATE_MS = 2_000;

export interface JobDeps {
  readonly clock: Clock;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Called after each change. */
  changed(job: TransferJob, isNewState: boolean): void;
}

/** What a running attempt does: it brings bytes, or puts them in place. */
export type Step = 'transfer' | 'apply';

export class TransferJob implements CarryEvents {
  /** Ends the attempt that is under way, and keeps the next one from being made. */
  readonly ending = new AbortController();
  #attempt = new AbortController();
  readonly #deps: JobDeps;
  readonly #backoff: Backoff;
  #row: VolumeTransferRow;
  #step: Step | undefined;
  #isRunning = false;
  /** By the monotonic clock. */
  #notBefore = 0;
  #rate: number | undefined;
  /** By the monotonic clock, when bytes last came in this attempt. */
  #flowsSince: number | undefined;
  #measured = { at: 0, carried: 0 };

  constructor(row: VolumeTransferRow, deps: JobDeps) {
    this.#row = row;
    this.#deps = deps;
    this.#backoff = new Backoff({ ...RETRY, random: deps.random });
  }

  get row(): VolumeTransferRow {
    return this.#row;
  }

  get step(): Step | undefined {
    return this.#step;
  }

  /** Bytes a second of late; undefined while none come. */
  get rate(): number | undefined {
    return this.#step === 'transfer' ? this.#rate : undefined;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** ms until it may be tried. */
  get wait(): number {
    return Math.max(0, this.#notBefore - this.#deps.clock.monotonic());
  }

  /** Fires when the attempt that is under way is to end. */
  get signal(): AbortSignal {
    return AbortSignal.any([this.ending.signal, this.#attempt.signal]);
  }

  /** Ends an attempt in which nothing comes, though bytes had begun to: hosts that hang must not hold up others. */
  endIfStalled(): void {
    const { clock } = this.#deps;
    if (this.#step !== 'transfer' || this.#flowsSince === undefined) return;
    if (clock.monotonic() - this.#flowsSince < STALL_MS) return;
    this.#attempt.abort(new FairleadError('TIMEOUT', `nothing came for ${STALL_MS / 60_000} min`));
  }

  start(): void {
    this.#isRunning = true;
    this.#attempt = new AbortController();
    this.#flowsSince = undefined;
    this.#step = 'transfer';
    this.#rate = undefined;
    this.#set({ state: 'running', code: undefined, detail: undefined }, true);
  }

  begun(offset: number, total: number | undefined): void {
    const { resumes } = this.#row;
    this.#flowsSince = this.#deps.clock.monotonic();
    this.#measured = { at: this.#flowsSince, carried: this.#row.carried };
    this.#set({ bytes: offset, total, resumes: offset > 0 ? resumes + 1 : resumes }, true);
  }

  came(bytes: number): void {
    const { bytes: had, carried, total } = this.#row;
    this.#backoff.reset();
    const now = this.#deps.clock.monotonic();
    this.#flowsSince = now;
    const passed = now - this.#measured.at;
    if (passed >= RATE_MS) {
      this.#rate = Math.round(((carried + bytes - this.#measured.carried) / passed) * 1000);
      this.#measured = { at: now, carried: carried + bytes };
    }
    // A tar is longer than what is in it: an estimate that is passed is none.
    const known = total !== undefined && had + bytes > total ? undefined : total;
    this.#set(
      { bytes: had + bytes, carried: carried + bytes, total: known, progressAt: this.#deps.clock.now() },
      false,
    );
  }

  restarts(why: string): void {
    const { restarts } = this.#row;
    if (restarts >= MAX_RESTARTS) {
      const advice = 'stop the containers that write to it, and try again';
      throw new FairleadError('CONFLICT', `${why}, more than once: ${advice}`);
    }
    this.#set({ restarts: restarts + 1, bytes: 0, note: `begun anew: ${why}` }, true);
  }

  applying(): void {
    this.#step = 'apply';
    this.#set({ total: this.#row.bytes }, true);
  }

  /** The attempt is over, and there will be another one. */
  pause(code: string, detail: string): void {
    this.#stop();
    this.#notBefore = this.#deps.clock.monotonic() + this.#backoff.nextAtLeastCeiling();
    this.#set({ state: 'waiting', code, detail }, true);
  }

  end(state: 'done' | 'failed' | 'cancelled', failure?: { code: string; message: string }): void {
    this.#stop();
    const why = { code: failure?.code, detail: failure?.message };
    this.#set({ state, ...why, endedAt: this.#deps.clock.now() }, true);
  }

  /** The attempt is over because the server stops. */
  leave(): void {
    this.#stop();
  }

  #stop(): void {
    this.#isRunning = false;
    this.#step = undefined;
  }

  #set(change: Partial<VolumeTransferProgress>, isNewState: boolean): void {
    this.#row = { ...this.#row, ...change };
    this.#deps.changed(this, isNewState);
  }
}
