/**
 * Brings the audit log to a receiver: every row, in order, again and again until the receiver has it. Rows are read from
 * the table and the place is kept there, so that neither a receiver that is away nor a kill of the server loses one.
 */
import type { BaseLogger } from 'pino';
import type { ChainRow } from '../../shared/audit-chain.ts';
import { exportRow } from '../../shared/audit-export.ts';
import type { Clock, Timer } from '../../shared/clock.ts';
import { Delivery } from '../delivery.ts';
import type { Store } from '../store/store.ts';
import type { Audit } from './audit.ts';
import type { RowReceiver } from './retention.ts';

/** Rows that go at once, and how long new ones are waited for so that they go together. */
const BATCH_ROWS = 200;
const GATHER_MS = 50;
/** Rows of a transaction are told of before it ends, so the table is looked at by itself, too. */
const POLL_MS = 1_000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 30_000;
/** A receiver that stays away is logged this often. */
const REPORT_MS = 60_000;

/** What is brought: whole lines of NDJSON, and the ids of the first and the last row in them. */
export interface Batch {
  readonly text: string;
  readonly firstId: number;
  readonly lastId: number;
}

/** Where rows go. */
export interface Sink {
  /** What its place is kept under: another one gets the log from its oldest row. */
  readonly key: string;
  /** For the log, the metrics and errors, of a URL its host alone: its path may be a secret. */
  readonly name: string;
  /** Resolves once the receiver has the rows for good. */
  send(batch: Batch, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface ForwarderDeps {
  readonly sink: Sink;
  readonly store: Store;
  readonly audit: Pick<Audit, 'onRows'>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Pick<BaseLogger, 'warn' | 'info'>;
}

export class Forwarder implements RowReceiver {
  readonly #deps: ForwarderDeps;
  readonly #delivery: Delivery;
  readonly #stopListening: () => void;
  readonly #poll: Timer;
  #position: number;
  #failures = 0;
  #lostRows = 0;
  #lastReportAt = Number.NEGATIVE_INFINITY;
  #isAway = false;
  #gathering: Timer | undefined;

  /** Goes on where the receiver stood; a new one gets the log from its oldest row. */
  static async start(deps: ForwarderDeps): Promise<Forwarder> {
    return new Forwarder(deps, await deps.store.auditSinks.position(deps.sink.key));
  }

  private constructor(deps: ForwarderDeps, position: number) {
    this.#deps = deps;
    this.#position = position;
    const { clock, random } = deps;
    this.#delivery = new Delivery({
      ...{ clock, random, retryMinMs: RETRY_MIN_MS, retryMaxMs: RETRY_MAX_MS },
      step: (signal) => this.#step(signal),
      onFailure: (error) => this.#fail(error),
    });
    this.#stopListening = deps.audit.onRows(() => {
      this.#gathering ??= clock.setTimeout(() => {
        this.#gathering = undefined;
        this.#delivery.wake();
      }, GATHER_MS);
    });
    this.#poll = clock.setInterval(() => this.#delivery.wake(), POLL_MS);
  }

  get name(): string {
    return this.#deps.sink.name;
  }

  get position(): number {
    return this.#position;
  }

  /** Deliveries that failed, and rows that were dropped by age before they could be brought. */
  get failures(): number {
    return this.#failures;
  }

  get lostRows(): number {
    return this.#lostRows;
  }

  /** How far the receiver is behind. */
  async lag(): Promise<{ rows: number; ms: number }> {
    const { store, clock } = this.#deps;
    const head = await store.audit.head();
    const [next] = await store.audit.read(this.#position, Number.MAX_SAFE_INTEGER, 1);
    if (head === undefined || next === undefined) return { rows: 0, ms: 0 };
    return { rows: head.id - next.id + 1, ms: Math.max(0, clock.now() - next.at) };
  }

  lose(id: number): void {
    if (id <= this.#position) return;
    this.#lostRows += id - this.#position;
    this.#position = id;
  }

  /** Gives up what is under way; it is brought again at the next start. Idempotent. */
  async close(): Promise<void> {
    this.#stopListening();
    this.#poll.cancel();
    this.#gathering?.cancel();
    await this.#delivery.close();
    await this.#deps.sink.close();
  }

  /** @returns whether there is likely more to bring */
  async #step(signal: AbortSignal): Promise<boolean> {
    const { store, sink, clock } = this.#deps;
    const rows = await store.audit.read(this.#position, Number.MAX_SAFE_INTEGER, BATCH_ROWS);
    const batch = toBatch(rows);
    if (batch === undefined) return false;
    await sink.send(batch, signal);
    await store.auditSinks.advance(sink.key, batch.lastId, clock.now());
    // Rows may have been dropped by age meanwhile; what was just brought is not lost.
    this.#position = Math.max(this.#position, batch.lastId);
    if (this.#isAway) this.#deps.log.info({ receiver: sink.name }, 'the receiver of the audit log takes rows again');
    this.#isAway = false;
    return rows.length === BATCH_ROWS;
  }

  async #fail(error: unknown): Promise<void> {
    const { clock, log, sink } = this.#deps;
    this.#failures += 1;
    const now = clock.monotonic();
    if (this.#isAway && now - this.#lastReportAt < REPORT_MS) return;
    this.#isAway = true;
    this.#lastReportAt = now;
    // What stands behind it may be the store itself, which then cannot say how much it is.
    const lag = await this.lag().catch(() => undefined);
    log.warn(
      { err: error, receiver: sink.name, rowsBehind: lag?.rows },
      'the audit log could not be forwarded; it is tried again',
    );
  }
}

function toBatch(rows: readonly ChainRow[]): Batch | undefined {
  const [first] = rows;
  const last = rows.at(-1);
  if (first === undefined || last === undefined) return undefined;
  const text = rows.map((row) => `${JSON.stringify(exportRow(row))}\n`).join('');
  return { text, firstId: first.id, lastId: last.id };
}
