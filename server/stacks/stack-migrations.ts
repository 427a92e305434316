/**
 * Stacks that are carried from host to host. A migration that has begun runs to its end, or is taken back, whoever looks on;
 * one that a stopped server has left is taken back, or finished, when both hosts are there again.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError, fromWireError, isFairleadError, toWireError } from '../../shared/errors.ts';
import type { StackProgress } from '../../shared/messages/stack.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { StackMigrationRow } from '../store/stack-migrations.ts';
import type { Store } from '../store/store.ts';
import type { VolumeTransfers } from '../volumes/volume-transfers.ts';
import type { HeldStacks } from './going-changes.ts';
import { Migration, type MigrationDeps } from './migration.ts';
import { type MigrationPlan, planMigration } from './migration-check.ts';
import type { MigrationEnds } from './migration-problems.ts';
import type { Stacks } from './stacks.ts';

/** Migrations that go on at once. */
const MAX_RUNNING = 16;
/** How long one that a stopped server has left waits for its hosts. */
const GIVE_UP_MS = 24 * 60 * 60_000;
const CHECK_MS = 3 * 60_000;

export interface StackMigrationsDeps {
  readonly store: Pick<Store, 'stackMigrations'>;
  readonly stacks: Stacks;
  readonly transfers: VolumeTransfers;
  readonly registry: HostRegistry;
  readonly audit: Pick<Audit, 'recordOrLog'>;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'warn' | 'error'>;
}

/** How a migration has ended. */
export interface MigrationResult {
  /** The revision at the target. */
  readonly revision: number;
  readonly stack: string;
  readonly volumes: readonly string[];
  /** Images that the target lacked. */
  readonly images: readonly string[];
  /** The source is there, stopped. */
  readonly kept: boolean;
}

export interface RunningMigration {
  readonly id: string;
  /** @throws FairleadError that says what failed, and what became of it */
  readonly done: Promise<MigrationResult>;
  /** Who stops reading it ends nothing. */
  progress(signal: AbortSignal): AsyncGenerator<StackProgress>;
}

export class StackMigrations {
  readonly #deps: StackMigrationsDeps;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  /** Those of a stopped server, which wait for their hosts. */
  readonly #left = new Map<string, { readonly row: StackMigrationRow; readonly timer: Timer }>();
  readonly #unsubscribe: () => void;

  /** Sees to what an earlier run has left. @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: StackMigrationsDeps): Promise<StackMigrations> {
    return new StackMigrations(deps, await deps.store.stackMigrations.all());
  }

  private constructor(deps: StackMigrationsDeps, rows: readonly StackMigrationRow[]) {
    this.#deps = deps;
    for (const row of rows) {
      const timer = deps.clock.setTimeout(() => void this.#giveUp(row), GIVE_UP_MS);
      this.#left.set(row.id, { row, timer });
    }
    this.#unsubscribe = deps.registry.subscribe({ online: () => this.#resume() });
    this.#resume();
  }

  /** Ends what runs; the next start sees to it. */
  async close(): Promise<void> {
    this.#closing.abort(new FairleadError('SHUTDOWN', 'the server is stopping'));
    this.#unsubscribe();
    for (const { timer } of this.#left.values()) timer.cancel();
    await Promise.all(this.#running);
  }

  /**
   * Begins a migration.
   * @param signal ends the check; what has begun goes on
   * @returns once nothing speaks against it @throws FairleadError NOT_FOUND, CONFLICT, OVERLOADED, VALIDATION; nothing is touched then
   */
  async begin(
    ends: MigrationEnds,
    { keep }: { readonly keep: boolean },
    { name: by }: Actor,
    signal: AbortSignal,
  ): Promise<RunningMigration> {
    const { stacks, store, clock } = this.#deps;
    const from = { hostId: ends.from.link.hostId, stack: ends.from.stack };
    const to = { hostId: ends.to.link.hostId, stack: ends.to.stack };
    if (from.hostId === to.hostId) throw new FairleadError('VALIDATION', 'the stack is on that host already');
    if (this.#running.size >= MAX_RUNNING) {
      throw new FairleadError('OVERLOADED', `${MAX_RUNNING} migrations go on already; wait for the end of one`);
    }
    for (const { row } of this.#left.values()) {
      if (![row.from, row.to].some((key) => isSame(key, from) || isSame(key, to))) continue;
      throw new FairleadError(
        'CONFLICT',
        `an earlier migration of the stack ${row.from.stack} was interrupted; it is seen to once both hosts are there`,
      );
    }
    const held = stacks.hold([from, to], 'stack.migrate', by);
    const late = new AbortController();
    const timer = clock.setTimeout(() => {
      late.abort(new FairleadError('TIMEOUT', `the hosts did not answer within ${CHECK_MS / 60_000} min`));
    }, CHECK_MS);
    try {
      const checking = AbortSignal.any([signal, this.#closing.signal, late.signal]);
      const plan = await planMigration(stacks, ends, { by, held, signal: checking });
      checking.throwIfAborted();
      const row: StackMigrationRow = {
        ...{ id: randomUUID(), from, to, keeps: keep },
        ...scalesOf(plan),
        ...{ step: 'stop', volumes: [], createdBy: by, createdAt: clock.now() },
      };
      await store.stackMigrations.insert(row);
      const migration = new Migration(row, this.#depsOf(row), held, this.#closing.signal);
      const done = this.#track(this.#run(row, migration, plan).finally(() => held.release()));
      return { id: row.id, done, progress: (leaving) => migration.log.read(leaving) };
    } catch (error) {
      held.release();
      throw error;
    } finally {
      timer.cancel();
    }
  }

  #track<T>(work: Promise<T>): Promise<T> {
    const settled = work.then(
      () => undefined,
      () => undefined,
    );
    this.#running.add(settled);
    void settled.then(() => this.#running.delete(settled));
    return work;
  }

  #depsOf(row: StackMigrationRow): MigrationDeps {
    const { stacks, transfers, registry, clock, store } = this.#deps;
    return {
      ...{ stacks, transfers, registry, clock },
      save: (id, progress) => store.stackMigrations.update(id, progress),
      ended: (step, error) => this.#note(row, step, error),
    };
  }

  async #note(row: StackMigrationRow, step: string, error?: unknown): Promise<void> {
    const { id, from, to, createdBy: actor } = row;
    const target = `${from.hostId}/${from.stack} to ${to.hostId}/${to.stack}`;
    const { code, message } = error === undefined ? {} : toWireError(error);
    const detail = error === undefined ? { id } : { id, code, why: message };
    const result = error === undefined ? 'ok' : 'failed';
    await this.#deps.audit.recordOrLog({ actor, action: `stack.migrate.${step}`, target, result, detail });
  }

  async #run(row: StackMigrationRow, migration: Migration, plan: MigrationPlan): Promise<MigrationResult> {
    try {
      let revision: number;
      try {
        ({ number: revision } = await migration.carry(plan));
      } catch (error) {
        throw await this.#takenBack(migration, error);
      }
      await this.#finished(row, migration);
      await this.#end(row);
      return {
        ...{ revision, stack: row.to.stack, kept: row.keeps },
        ...{ volumes: plan.volumes.map(({ to }) => to), images: plan.images },
      };
    } catch (error) {
      // The row stays: the next start sees to it.
      if (this.#closing.signal.aborted) throw stopped();
      if (!isFairleadError(error)) this.#deps.log.error({ err: error, migration: row.id }, 'a migration failed');
      await this.#end(row, error);
      throw error;
    } finally {
      migration.log.end();
    }
  }

  /** @throws FairleadError when the source is not removed: the stack runs at the target all the same */
  async #finished(row: StackMigrationRow, migration: Migration): Promise<void> {
    try {
      await migration.finish();
    } catch (error) {
      this.#closing.signal.throwIfAborted();
      const { code, message } = toWireError(error);
      const detail =
        `the stack runs at the target, but what is left of it at the source could not be removed (${message}): ` +
        `do that by \`fairlead stack rm HOST ${row.from.stack} --volumes\``;
      throw fromWireError({ code, message: detail });
    }
  }

  /** Takes a migration back. @returns the error that says so */
  async #takenBack(migration: Migration, cause: unknown): Promise<FairleadError> {
    this.#closing.signal.throwIfAborted();
    const { step } = migration;
    const { code, message } = toWireError(cause);
    migration.log.add(step, `failed: ${message}`);
    const left = await migration.undo();
    const outcome =
      left.length === 0
        ? 'it was rolled back: the stack is at the source as before, and nothing of it at the target'
        : `it could NOT be rolled back wholly, do by hand what is left: ${left.join('; ')}`;
    return fromWireError({ code, message: `${step} failed: ${message}; ${outcome}` });
  }

  async #end(row: StackMigrationRow, error?: unknown): Promise<void> {
    await this.#note(row, error === undefined ? 'done' : 'failed', error);
    await this.#deps.store.stackMigrations.delete(row.id).catch((cause: unknown) => {
      this.#deps.log.error({ err: cause, migration: row.id }, 'the end of a migration is not written down');
    });
  }

  /** Begins with those that are left and whose hosts are both there. */
  #resume(): void {
    const { registry, stacks, log } = this.#deps;
    for (const { row, timer } of [...this.#left.values()]) {
      if (registry.link(row.from.hostId) === undefined || registry.link(row.to.hostId) === undefined) continue;
      let held: HeldStacks;
      try {
        held = stacks.hold([row.from, row.to], 'stack.migrate', row.createdBy);
      } catch (error) {
        log.warn({ err: error, migration: row.id }, 'an interrupted migration waits: its stack is being changed');
        continue;
      }
      timer.cancel();
      this.#left.delete(row.id);
      const settled = this.#settle(row, held).catch((error: unknown) => {
        log.error({ err: error, migration: row.id }, 'an interrupted migration could not be seen to');
      });
      void this.#track(settled.finally(() => held.release()));
    }
  }

  /** Finishes what was verified, and takes back what was not. */
  async #settle(row: StackMigrationRow, held: HeldStacks): Promise<void> {
    const migration = new Migration(row, this.#depsOf(row), held, this.#closing.signal);
    try {
      if (row.step === 'remove') await this.#finished(row, migration);
      else throw await this.#takenBack(migration, new FairleadError('SHUTDOWN', 'the server was stopped meanwhile'));
      await this.#end(row);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      await this.#end(row, error);
    }
  }

  async #giveUp(row: StackMigrationRow): Promise<void> {
    this.#left.delete(row.id);
    const detail =
      `the server was stopped during the step ${row.step}, and the hosts did not come back for a day: ` +
      'look at both by `fairlead stack status`, remove what is left at the one, and start the other';
    await this.#end(row, new FairleadError('HOST_OFFLINE', detail));
  }
}

/** What is to be started again if it is taken back. */
function scalesOf({ state, running }: MigrationPlan): Pick<StackMigrationRow, 'ran' | 'services'> {
  const names = Object.keys(running);
  const services = names.map((name) => [name, state[name]?.containers ?? 1] as const);
  return { ran: names.length > 0, services: Object.fromEntries(services) };
}

function isSame(a: StackMigrationRow['from'], b: StackMigrationRow['from']): boolean {
  return a.hostId === b.hostId && a.stack === b.stack;
}

function stopped(): FairleadError {
  const detail =
    'the server is stopping: it takes the migration back, or finishes it, once it and both hosts are there again';
  return new FairleadError('SHUTDOWN', detail);
}
