/** Makes the journal of revocations count at a start, and says so when it had to, or when it could not be written. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import type { Audit } from '../audit/audit.ts';
import type { Revocation } from '../store/revocation-journal.ts';
import { completeJournal, replayRevocations } from '../store/revocation-replay.ts';
import type { Store } from '../store/store.ts';

/** Rows of the audit log that are written together. */
const ROWS_AT_ONCE = 500;

export interface JournalWatchDeps {
  readonly store: Store;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Pick<Logger, 'warn' | 'error'>;
}

export class JournalWatch {
  readonly #deps: JournalWatchDeps;
  readonly #revived: readonly Revocation[];
  #audit: Audit | undefined;

  private constructor(deps: JournalWatchDeps, revived: readonly Revocation[]) {
    this.#deps = deps;
    this.#revived = revived;
  }

  /** Revokes again what an older database brings back, and completes the journal. To be called before anybody is let in. */
  static async open(deps: JournalWatchDeps): Promise<JournalWatch> {
    const { store, clock, log } = deps;
    if (store.journal.wasTorn) log.warn('the last line of revoked.ndjson was cut off, as by a crash; it was dropped');
    const revived = await replayRevocations(store, clock.now());
    const watch = new JournalWatch(deps, revived);
    store.onUnjournaled((error, revocations) => watch.#failed(error, revocations));
    await completeJournal(store, clock.now()).catch((error: unknown) => watch.#failed(error, []));
    return watch;
  }

  /** Writes what was revoked again to the audit log, and whatever fails from now on. */
  async report(audit: Audit): Promise<void> {
    this.#audit = audit;
    const { log } = this.#deps;
    if (this.#revived.length > 0) {
      log.warn(
        { count: this.#revived.length },
        'the database is older than revoked.ndjson: revoked again what it brought',
      );
    }
    for (let from = 0; from < this.#revived.length; from += ROWS_AT_ONCE) {
      const rows = this.#revived.slice(from, from + ROWS_AT_ONCE).map(async ({ kind, id, at, reason }) => {
        const detail = { kind, revokedAt: new Date(at).toISOString(), reason };
        await audit.recordOrLog({ actor: 'system', action: 'revocation.replay', target: id, result: 'ok', detail });
      });
      await audit.drain();
      await Promise.all(rows);
    }
  }

  #failed(error: unknown, revocations: readonly Revocation[]): void {
    const ids = revocations.map(({ kind, id }) => `${kind} ${id}`);
    this.#deps.log.error({ err: error, revocations: ids }, 'revoked.ndjson cannot be written; the revocation stands');
    const detail = { count: ids.length, first: ids.slice(0, 10) };
    void this.#audit?.recordOrLog({ actor: 'system', action: 'revocation.journal', result: 'failed', detail });
  }
}
