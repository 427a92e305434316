/** The contents of this host's volumes, as handlers read and change them; what a killed agent has left is put right first. */
import { randomUUID } from 'node:crypto';
import { rmdir } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { requireHelper, sweepHelpers, VolumeHelper } from '../docker/volume-helper.ts';
import {
  lookAtTarget,
  type PutParts,
  type PutRequest,
  type PutResult,
  putInPlace,
  resultOf,
  type Target,
  undoLeft,
} from './put-in-place.ts';
import { Spools } from './spools.ts';
import type { Sum } from './tar.ts';

/** In the agent's state directory. */
export const VOLUMES_DIRECTORY = 'volumes';
/** Helpers at once: each is a container, and reads or writes as fast as the disk lets it. */
const MAX_HELPERS = 16;
const SWEEP_MS = 60 * 60_000;

export interface VolumesOptions {
  readonly docker: DockerEngine;
  /** Whose helpers are whose: the host's id. */
  readonly owner: string;
  /** Where tars are kept. */
  readonly directory: string;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Removes what is kept of volumes, as far as no volume has to be made whole with it; to be called while no agent runs. */
export async function dropKept(directory: string, clock: Clock): Promise<void> {
  await new Spools(directory, clock).sweep(() => false, 0);
  // What is not empty stays, and so does what is not there.
  await rmdir(directory).catch(() => undefined);
}

export class Volumes {
  readonly #options: VolumesOptions;
  readonly #spools: Spools;
  readonly #parts: PutParts;
  readonly #helpers = new Set<string>();
  /** What is being put in place, by transfer. */
  readonly #applying = new Map<string, Promise<PutResult>>();
  /** Volumes that are being changed. */
  readonly #changing = new Set<string>();
  readonly #unsubscribe: () => void;
  readonly #timer: Timer;
  #cleared: Promise<void> | undefined;
  /** Whether Docker was lost while a helper was there, which then may have stayed. */
  #mayHaveLeft = false;

  /** What is left of a process before this one is put right once Docker is there. */
  constructor(options: VolumesOptions) {
    const { docker, directory } = options;
    this.#options = options;
    this.#spools = new Spools(directory, docker.clock);
    const withHelper: PutParts['withHelper'] = (volume, signal, work) => this.withHelper(volume, signal, work);
    this.#parts = { docker, owner: options.owner, spools: this.#spools, withHelper };
    this.#unsubscribe = docker.onState(({ reachable }) => void (reachable && this.#clearUnasked()));
    this.#timer = docker.clock.setInterval(() => void this.#sweep(), SWEEP_MS);
  }

  /** Whose helpers are ours. */
  get owner(): string {
    return this.#options.owner;
  }

  /** Ends what goes on by itself. */
  close(): void {
    this.#unsubscribe();
    this.#timer.cancel();
  }

  /**
   * Lets `work` reach into a volume, which must be there.
   * @throws FairleadError OVERLOADED, DENIED_BY_HOST, and what `work` throws
   */
  async withHelper<T>(
    volume: string,
    signal: AbortSignal | undefined,
    work: (helper: VolumeHelper) => Promise<T>,
  ): Promise<T> {
    if (this.#helpers.size >= MAX_HELPERS) {
      throw new FairleadError('OVERLOADED', `${MAX_HELPERS} volumes of this host are being read or written already`);
    }
    const { docker, owner, log } = this.#options;
    const id = randomUUID();
    this.#helpers.add(id);
    try {
      const helper = await VolumeHelper.open(docker, { id, volume, owner, signal });
      try {
        return await work(helper);
      } finally {
        if (!(await helper.close())) {
          this.#mayHaveLeft = true;
          log.warn({ volume, helper: id }, 'a helper could not be removed yet');
        }
      }
    } catch (error) {
      if (isFairleadError(error, 'DOCKER_UNREACHABLE')) this.#mayHaveLeft = true;
      throw error;
    } finally {
      this.#helpers.delete(id);
    }
  }

  /** Lets `work` change a volume, and nobody else meanwhile. @throws FairleadError CONFLICT */
  async changing<T>(volume: string, work: () => Promise<T>): Promise<T> {
    if (this.#changing.has(volume)) {
      throw new FairleadError('CONFLICT', `the volume ${volume} is being changed already; wait for the end of that`);
    }
    this.#changing.add(volume);
    try {
      return await work();
    } finally {
      this.#changing.delete(volume);
    }
  }

  /** Whether a transfer may go into a volume. @returns what is here of it already, and whether it is in place */
  async prepare(id: string, target: Target, signal?: AbortSignal): Promise<Sum & { readonly done: boolean }> {
    this.#requirePermitted();
    await this.#whenCleared();
    // Whoever asks again while it is put in place is told what that has come to.
    await this.#applying.get(id)?.catch(() => undefined);
    const journal = await this.#spools.readJournal(id);
    if (journal === undefined) await lookAtTarget(this.#parts, target, { signal });
    const isDone = journal?.state === 'done' && journal.volume === target.volume;
    return { ...(await this.#spools.has(id)), done: isDone };
  }

  /** Takes in the bytes of a transfer. */
  async receive(id: string, source: Readable, where: { offset: number; estimate: number }): Promise<Sum> {
    return await this.#spools.receive(id, source, where);
  }

  /**
   * Puts a transfer in place. It goes on when nobody waits for it any more; asked again, the same work, or what it came to,
   * answers.
   */
  async apply(request: PutRequest): Promise<PutResult> {
    this.#requirePermitted();
    await this.#whenCleared();
    const { id } = request;
    let running = this.#applying.get(id);
    if (running === undefined) {
      running = this.changing(request.volume, () => this.#apply(request)).finally(() => this.#applying.delete(id));
      this.#applying.set(id, running);
    }
    return await running;
  }

  /** Drops what is here of a transfer. @throws FairleadError CONFLICT while it is being put in place */
  async discard(id: string): Promise<void> {
    if (this.#applying.has(id)) throw new FairleadError('CONFLICT', 'the transfer is being put in place');
    await this.#spools.discard(id);
  }

  async #apply(request: PutRequest): Promise<PutResult> {
    const journal = await this.#spools.readJournal(request.id);
    if (journal?.state === 'done' && journal.volume === request.volume) return resultOf(journal);
    if (journal !== undefined) await undoLeft(this.#parts, request.id, journal);
    return await putInPlace(this.#parts, request);
  }

  /** What stands half done must be possible to undo. @throws FairleadError DENIED_BY_HOST */
  #requirePermitted(): void {
    const { docker } = this.#options;
    requireHelper(docker, 'read', 'write');
    docker.requirePermitted({ method: 'POST', path: '/volumes/create' });
    docker.requirePermitted({ method: 'DELETE', path: '/volumes/any' });
  }

  #mayHelp(): boolean {
    try {
      requireHelper(this.#options.docker, 'read');
      return true;
    } catch (error) {
      if (isFairleadError(error, 'DENIED_BY_HOST')) return false;
      throw error;
    }
  }

  /** Resolves once what an earlier process has left is put right, as far as that is possible. */
  #whenCleared(): Promise<void> {
    this.#cleared ??= this.#clear().catch((error: unknown) => {
      this.#cleared = undefined;
      throw error;
    });
    return this.#cleared;
  }

  #clearUnasked(): void {
    // A host that lets no helper be made has none left.
    if (!this.#mayHelp()) return;
    // Whoever needs it is told why it failed, and tries it again.
    this.#whenCleared().catch((error: unknown) => {
      // The next run does it.
      if (isFairleadError(error, 'SHUTDOWN')) return;
      this.#options.log.warn({ err: error }, 'what an earlier run left of volumes could not be put right yet');
    });
    if (this.#mayHaveLeft) void this.#sweep();
  }

  async #clear(): Promise<void> {
    const { docker, owner, log } = this.#options;
    const helpers = await sweepHelpers(docker, owner, (id) => this.#helpers.has(id));
    if (helpers > 0) log.info({ helpers }, 'removed helpers that an earlier run had left');
    for (const id of await this.#spools.ids()) await this.#undoLeft(id);
    await this.#sweepSpools();
  }

  async #undoLeft(id: string): Promise<void> {
    const { log } = this.#options;
    try {
      const journal = await this.#spools.readJournal(id);
      if (journal?.state !== 'undoable') return;
      await undoLeft(this.#parts, id, journal);
      log.info(
        { volume: journal.volume, transfer: id },
        'made a volume what it was before a transfer that did not end',
      );
    } catch (error) {
      if (!isFairleadError(error) || error.code === 'DOCKER_UNREACHABLE' || error.code === 'SHUTDOWN') throw error;
      log.warn({ err: error, transfer: id }, 'a volume could not be made what it was before a transfer');
    }
  }

  async #sweepSpools(): Promise<number> {
    return await this.#spools.sweep((id) => this.#applying.has(id));
  }

  async #sweep(): Promise<void> {
    const { docker, owner, log } = this.#options;
    try {
      const transfers = await this.#sweepSpools();
      if (transfers > 0) log.info({ transfers }, 'dropped transfers that nobody asks for any more');
      if (!docker.state.reachable) return;
      this.#mayHaveLeft = false;
      await sweepHelpers(docker, owner, (id) => this.#helpers.has(id));
    } catch (error) {
      this.#mayHaveLeft = true;
      log.warn({ err: error }, 'what is left of volumes could not be looked through');
    }
  }
}
