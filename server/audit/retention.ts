/**
 * Drops rows of the audit log that are older than they are to be kept, from the oldest on and a slice at a time. What is
 * left stays verifiable: a signed anchor says what the first row that is left follows.
 */
import { setImmediate } from 'node:timers/promises';
import type { BaseLogger } from 'pino';
import {
  type ChainPosition,
  type ChainRow,
  GENESIS,
  isFault,
  nextPosition,
  type SignatureCheck,
} from '../../shared/audit-chain.ts';
import type { Clock } from '../../shared/clock.ts';
import { Passes } from '../passes.ts';
import type { Store } from '../store/store.ts';
import type { Audit } from './audit.ts';
import type { Checkpoints } from './checkpoints.ts';

const RETENTION_PASS_MS = 60 * 60_000;
/** Rows that go in one transaction. */
const SLICE_ROWS = 500;
/** A receiver that is behind holds rows back until they are this many times as old as they are to be kept. */
const HELD_BACK_TIMES = 2;

/** Somebody who is still to get rows. */
export interface RowReceiver {
  readonly name: string;
  /** The last row that it has. */
  readonly position: number;
  /** Rows up to `id` are gone, whether it has them or not. */
  lose(id: number): void;
}

export interface RetentionDeps {
  readonly store: Store;
  readonly audit: Pick<Audit, 'record'>;
  readonly checkpoints: Pick<Checkpoints, 'make' | 'anchor' | 'report'>;
  readonly check: SignatureCheck;
  readonly receivers: readonly RowReceiver[];
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error' | 'info' | 'warn'>;
  /** How long rows are kept, in ms. */
  readonly keepMs: number;
}

export class Retention {
  readonly #deps: RetentionDeps;
  readonly #passes: Passes;

  constructor(deps: RetentionDeps) {
    this.#deps = deps;
    const { clock, log } = deps;
    const failure = 'old rows of the audit log were not dropped';
    this.#passes = new Passes({ clock, log, failure, everyMs: RETENTION_PASS_MS, work: () => this.#pass() });
  }

  /** Drops all that is old enough. Never rejects: a failure is logged, and the next pass tries again. */
  pass(): Promise<void> {
    return this.#passes.pass();
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#passes.close();
  }

  async #pass(): Promise<void> {
    const { store, checkpoints, log } = this.#deps;
    // What is signed last stays: the next signature goes on from there.
    const last = await checkpoints.make();
    if (last === undefined) return;
    let dropped = 0;
    while (!this.#passes.isClosed) {
      const from = await this.#anchor();
      if (from === undefined) return;
      const rows = this.#old(await store.audit.read(from.id, last.id - 1, SLICE_ROWS));
      if (rows.length === 0) break;
      const to = await this.#through(from, rows);
      if (to === undefined) return;
      await this.#drop(to, dropped === 0);
      dropped += rows.length;
      await setImmediate();
    }
    if (dropped > 0) log.info({ rows: dropped }, 'old rows of the audit log were dropped');
  }

  /** What the oldest row follows. What nobody vouches for is left as evidence. */
  async #anchor(): Promise<ChainPosition | undefined> {
    const { store, check, checkpoints, log } = this.#deps;
    const anchor = await store.auditCheckpoints.last('anchor');
    if (anchor === undefined) return GENESIS;
    const signature = await check(anchor);
    if (signature === 'good') return anchor;
    const why = { id: anchor.id, message: `the anchor on row ${anchor.id} is forged` };
    if (signature === 'forged') await checkpoints.report(why);
    else
      log.error({ signer: anchor.signer }, 'no rows are dropped: the last anchor is signed by a CA that is not known');
    return undefined;
  }

  /** The rows at the front that may go. */
  #old(rows: readonly ChainRow[]): ChainRow[] {
    const { clock, keepMs, receivers } = this.#deps;
    const now = clock.now();
    const received = Math.min(...receivers.map(({ position }) => position), Number.MAX_SAFE_INTEGER);
    const stays = rows.findIndex(
      ({ id, at }) => at >= now - keepMs || (id > received && at >= now - HELD_BACK_TIMES * keepMs),
    );
    return stays === -1 ? [...rows] : rows.slice(0, stays);
  }

  async #through(from: ChainPosition, rows: readonly ChainRow[]): Promise<ChainPosition | undefined> {
    let position = from;
    for (const row of rows) {
      const next = nextPosition(position, row);
      if (isFault(next)) {
        await this.#deps.checkpoints.report(next);
        return undefined;
      }
      position = next;
    }
    return position;
  }

  async #drop(to: ChainPosition, isFirst: boolean): Promise<void> {
    const { store, audit, checkpoints, receivers, clock, keepMs, log } = this.#deps;
    const losers = receivers.filter(({ position }) => position < to.id);
    await store.transaction(async (tables) => {
      await tables.auditCheckpoints.insert(await checkpoints.anchor(to));
      await tables.audit.dropThrough(to.id);
      await tables.auditCheckpoints.dropThrough(to.id);
      const row = { actor: 'system', action: 'audit.retention' };
      const detail = { olderThan: new Date(clock.now() - keepMs) };
      if (isFirst) await audit.record({ ...row, result: 'ok', detail }, tables);
      for (const { name, position } of losers) {
        const lost = { receiver: name, rows: to.id - position, to: to.id };
        await audit.record({ ...row, result: 'failed', detail: lost }, tables);
      }
    });
    for (const receiver of losers) {
      log.error({ receiver: receiver.name, to: to.id }, 'rows were dropped that a receiver of the audit log never got');
      receiver.lose(to.id);
    }
  }
}
