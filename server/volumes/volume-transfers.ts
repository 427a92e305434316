/**
 * Volumes that are carried from host to host. Each transfer goes on by itself, behind what its target has, when both hosts are
 * back, and when the server is: until it is done, until it cannot be done, or until nothing has come for a day.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import type { HostScope } from '../access/scope.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import type { VolumeTransferRow } from '../store/volume-transfers.ts';
import { carry, discard } from './carry.ts';
import { TransferJob } from './transfer-job.ts';
import { hasRoom } from './transfer-room.ts';
import { isSameEnd, type TransferRequest, type VolumeTransfer, viewOf } from './transfer-view.ts';
import { TransferWatchers } from './transfer-watchers.ts';

/** Transfers that have not ended. */
const MAX_ACTIVE = 256;
/** Of those that have ended, how many are kept. */
const MAX_ENDED = 1_000;
/** How long a transfer waits for its hosts since it last came further. A target keeps what it has for as long. */
const GIVE_UP_MS = 24 * 60 * 60_000;
/** How often progress is written down. */
const SAVE_MS = 5_000;
const LOOK_MS = 60_000;

/** What passes by itself: the next attempt may go well. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'HOST_OFFLINE',
  'STREAM_INTERRUPTED',
  'SHUTDOWN',
  'OVERLOADED',
  'DOCKER_UNREACHABLE',
  'TIMEOUT',
  'REPLACED',
]);

export interface VolumeTransfersDeps {
  readonly store: Store;
  readonly registry: HostRegistry;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  /** A number in [0, 1). */
  readonly random: () => number;
}

export class VolumeTransfers {
  readonly #deps: VolumeTransfersDeps;
  /** Those that have not ended, oldest first. */
  readonly #jobs = new Map<string, TransferJob>();
  /** Those that are not in the store yet. */
  readonly #unwritten = new Set<string>();
  readonly #saved = new Map<string, number>();
  readonly #watchers = new TransferWatchers();
  readonly #running = new Set<Promise<void>>();
  readonly #unsubscribe: () => void;
  readonly #look: Timer;
  #next: Timer | undefined;
  #isClosed = false;

  /** Goes on with what an earlier run has left, unless that is too long ago. @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: VolumeTransfersDeps): Promise<VolumeTransfers> {
    const left = await deps.store.volumeTransfers.active();
    const isOld = ({ progressAt }: VolumeTransferRow) => deps.clock.now() - progressAt >= GIVE_UP_MS;
    const transfers = new VolumeTransfers(
      deps,
      left.filter((row) => !isOld(row)),
    );
    // Their targets have dropped what they had, and were used since.
    for (const row of left.filter(isOld)) {
      const message = 'nothing came for a day: the server was not there';
      await transfers.#end(transfers.#jobOf(row), 'failed', { code: 'TIMEOUT', message });
    }
    return transfers;
  }

  private constructor(deps: VolumeTransfersDeps, left: readonly VolumeTransferRow[]) {
    this.#deps = deps;
    for (const row of left) this.#add({ ...row, state: row.state === 'running' ? 'waiting' : row.state });
    this.#unsubscribe = deps.registry.subscribe({ online: () => this.#startSome() });
    this.#look = deps.clock.setInterval(() => void this.#giveUpOld(), LOOK_MS);
    this.#startSome();
  }

  /** Ends what runs; the next start goes on with it. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#unsubscribe();
    this.#look.cancel();
    this.#next?.cancel();
    for (const job of this.#jobs.values()) job.ending.abort(new FairleadError('SHUTDOWN', 'the server is stopping'));
    await Promise.all(this.#running);
    for (const job of this.#jobs.values()) await this.#save(job);
  }

  /** @throws FairleadError CONFLICT for a second one into the same volume, OVERLOADED, VALIDATION */
  async create(request: TransferRequest, actor: Actor): Promise<VolumeTransfer> {
    const { clock, store } = this.#deps;
    this.#check(request);
    const now = clock.now();
    const row: VolumeTransferRow = {
      ...{ id: randomUUID(), ...request, createdBy: actor.name, createdAt: now },
      ...{ state: 'queued', bytes: 0, total: undefined, carried: 0, resumes: 0, restarts: 0 },
      ...{ note: undefined, code: undefined, detail: undefined, progressAt: now, endedAt: undefined },
    };
    const job = this.#add(row);
    this.#unwritten.add(row.id);
    try {
      await store.volumeTransfers.insert(row);
    } catch (error) {
      this.#jobs.delete(row.id);
      throw error;
    } finally {
      this.#unwritten.delete(row.id);
    }
    const view = viewOf(job.row, job);
    this.#startSome();
    return view;
  }

  #check({ from, to }: TransferRequest): void {
    if (isSameEnd(from, to)) throw new FairleadError('VALIDATION', 'source and target are the same volume');
    const others = [...this.#jobs.values()];
    if (others.some(({ row }) => isSameEnd(row.to, to))) {
      throw new FairleadError('CONFLICT', `a transfer into the volume ${to.volume} of this host has not ended yet`);
    }
    if (others.length >= MAX_ACTIVE) {
      throw new FairleadError('OVERLOADED', `${MAX_ACTIVE} transfers have not ended yet; wait for one, or cancel some`);
    }
  }

  /** The ids of transfers into these volumes of a host that have not ended. */
  unfinishedInto(hostId: string, volumes: readonly string[]): string[] {
    const into = [...this.#jobs.values()].filter(({ row: { to } }) => {
      return to.hostId === hostId && volumes.includes(to.volume);
    });
    return into.map(({ row }) => row.id);
  }

  /** @throws FairleadError NOT_FOUND */
  async get(id: string): Promise<VolumeTransfer> {
    const job = this.#jobs.get(id);
    if (job !== undefined) return viewOf(job.row, job);
    const row = await this.#deps.store.volumeTransfers.find(id);
    if (row === undefined) throw new FairleadError('NOT_FOUND', `there is no transfer ${id}`);
    return viewOf(row, undefined);
  }

  /** Newest first; with a scope those of which both hosts are in it. */
  async list(page: PageRequest, scope?: HostScope): Promise<Page<VolumeTransfer>> {
    const { items, ...rest } = await this.#deps.store.volumeTransfers.list(page, scope);
    return { items: items.map((row) => viewOf(row, this.#jobs.get(row.id))), ...rest };
  }

  /** @throws FairleadError NOT_FOUND, CONFLICT when it has ended, or is being put in place */
  async cancel(id: string): Promise<void> {
    const job = this.#jobs.get(id);
    if (job === undefined) {
      const { state } = await this.get(id);
      throw new FairleadError('CONFLICT', `the transfer has ended already: it is ${state}`);
    }
    if (job.step === 'apply') {
      throw new FairleadError('CONFLICT', 'the volume is being put in place: wait for the end of that');
    }
    job.ending.abort(new FairleadError('CANCELLED', 'the transfer was cancelled'));
    if (job.isRunning) await this.#ended(id);
    else await this.#end(job, 'cancelled');
  }

  /** Calls `listener` after each change of a transfer that has not ended, until the returned function is called. */
  watch(id: string, listener: () => void): () => void {
    return this.#watchers.add(id, listener);
  }

  #ended(id: string): Promise<void> {
    return new Promise((resolve) => {
      const stop = this.watch(id, () => {
        if (this.#jobs.has(id)) return;
        stop();
        resolve();
      });
    });
  }

  #add(row: VolumeTransferRow): TransferJob {
    const job = this.#jobOf(row);
    this.#jobs.set(row.id, job);
    return job;
  }

  #jobOf(row: VolumeTransferRow): TransferJob {
    const { clock, random } = this.#deps;
    const changed = (job: TransferJob, isNewState: boolean) => this.#changed(job, isNewState);
    return new TransferJob(row, { clock, random, changed });
  }

  #changed(job: TransferJob, isNewState: boolean): void {
    const { id } = job.row;
    // How it has ended is written down before anybody is told.
    if (!this.#jobs.has(id)) return;
    const now = this.#deps.clock.monotonic();
    if (isNewState || now - (this.#saved.get(id) ?? 0) >= SAVE_MS) void this.#save(job);
    this.#watchers.tell(id);
  }

  /** Never rejects: a transfer goes on though nobody can write down how far it is. */
  async #save({ row }: TransferJob): Promise<void> {
    const { store, clock, log } = this.#deps;
    this.#saved.set(row.id, clock.monotonic());
    try {
      await store.volumeTransfers.update(row.id, row);
    } catch (error) {
      log.warn({ err: error, transfer: row.id }, 'the progress of a volume transfer could not be written down');
    }
  }

  /** Starts those whose hosts are there and have room, and looks again when the next one may be tried. */
  #startSome(): void {
    this.#next?.cancel();
    if (this.#isClosed) return;
    let soonest: number | undefined;
    for (const job of this.#jobs.values()) {
      if (job.isRunning || job.ending.signal.aborted || this.#unwritten.has(job.row.id)) continue;
      if (job.wait > 0) soonest = Math.min(soonest ?? job.wait, job.wait);
      else if (this.#hasRoom(job.row)) this.#start(job);
    }
    if (soonest !== undefined) this.#next = this.#deps.clock.setTimeout(() => this.#startSome(), soonest);
  }

  #hasRoom(row: VolumeTransferRow): boolean {
    if (this.#linksIfThere(row) === undefined) return false;
    const running = [...this.#jobs.values()].filter(({ isRunning }) => isRunning).map((job) => job.row);
    return hasRoom(row, running);
  }

  #linksIfThere({ from, to }: VolumeTransferRow): { from: HostLink; to: HostLink } | undefined {
    const [source, target] = [this.#deps.registry.link(from.hostId), this.#deps.registry.link(to.hostId)];
    return source === undefined || target === undefined ? undefined : { from: source, to: target };
  }

  #start(job: TransferJob): void {
    job.start();
    const run = this.#run(job).finally(() => {
      this.#running.delete(run);
      this.#startSome();
    });
    this.#running.add(run);
  }

  /** One attempt. Never rejects. */
  async #run(job: TransferJob): Promise<void> {
    const ending = job.ending.signal;
    try {
      const links = this.#linksIfThere(job.row);
      if (links === undefined) throw new FairleadError('HOST_OFFLINE', 'one of the hosts is not connected');
      await carry(job.row, links, job, job.signal);
      await this.#end(job, 'done');
    } catch (error) {
      if (this.#isClosed) return job.leave();
      if (ending.aborted) return await this.#end(job, 'cancelled');
      if (!isFairleadError(error)) {
        this.#deps.log.error({ err: error, transfer: job.row.id }, 'a volume transfer failed unexpectedly');
      }
      const { code, message } = toWireError(error);
      if (isFairleadError(error) && PASSING.has(error.code)) job.pause(code, message);
      else await this.#end(job, 'failed', { code, message });
    }
  }

  async #end(
    job: TransferJob,
    state: 'done' | 'failed' | 'cancelled',
    failure?: { code: string; message: string },
  ): Promise<void> {
    const { registry, audit, store, log } = this.#deps;
    const { id, from, to } = job.row;
    this.#jobs.delete(id);
    job.end(state, failure);
    await this.#save(job);
    this.#saved.delete(id);
    this.#watchers.tell(id);
    if (state !== 'done') await discard(id, registry.link(to.hostId));
    const { bytes, carried, resumes, createdBy } = job.row;
    const detail = { id, bytes, carried, resumes, ...(failure === undefined ? {} : { code: failure.code }) };
    const target = `${from.hostId}/${from.volume} to ${to.hostId}/${to.volume}`;
    const row = { actor: createdBy, action: `volume.transfer.${state}`, target, detail };
    await audit.recordOrLog({ ...row, result: state === 'failed' ? 'failed' : 'ok' });
    await store.volumeTransfers.prune(MAX_ENDED).catch((error: unknown) => {
      log.warn({ err: error }, 'ended volume transfers could not be forgotten');
    });
  }

  /** Ends those whose hosts do not come back, or are no hosts any more. Never rejects. */
  async #giveUpOld(): Promise<void> {
    const { clock, store, log } = this.#deps;
    try {
      for (const job of this.#jobs.values()) {
        if (job.isRunning) {
          job.endIfStalled();
          continue;
        }
        const { from, to, state, progressAt, detail } = job.row;
        const hosts = [await store.hosts.find(from.hostId), await store.hosts.find(to.hostId)];
        const isGone = hosts.some((host) => host === undefined || host.revokedAt !== undefined);
        const isHeldUp = state === 'waiting' || this.#linksIfThere(job.row) === undefined;
        const isOld = isHeldUp && clock.now() - progressAt >= GIVE_UP_MS;
        if (job.isRunning || (!isGone && !isOld)) continue;
        const why = isGone
          ? 'one of the hosts is not of this installation any more'
          : `nothing came for a day: ${detail ?? 'its hosts were not there'}`;
        await this.#end(job, 'failed', { code: isGone ? 'HOST_NOT_FOUND' : 'TIMEOUT', message: why });
      }
    } catch (error) {
      log.warn({ err: error }, 'volume transfers could not be looked through');
    }
  }
}
