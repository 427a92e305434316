/** One migration of a stack: its steps, and how they are taken back. What has to be taken back is written down before it is made. */
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, fromWireError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { volumeCreate, volumeInspect, volumeRemove } from '../../shared/messages/volume.ts';
import { sleep } from '../../shared/sleep.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { MigrationProgress, MigrationStep, StackMigrationRow } from '../store/stack-migrations.ts';
import type { RevisionRow, StackKey } from '../store/stack-revisions.ts';
import type { VolumeTransfers } from '../volumes/volume-transfers.ts';
import { copyImage } from './copy-image.ts';
import type { HeldStacks } from './going-changes.ts';
import type { MigrationPlan } from './migration-check.ts';
import type { CarriedVolume } from './migration-problems.ts';
import { ProgressLog } from './progress-log.ts';
import type { RunningChange } from './running-change.ts';
import { type ChangeOptions, PATIENT_TURN_MS, type Stacks, type StackTarget } from './stacks.ts';

/** How long a host may be away in the middle of a migration. */
const RETURN_MS = 10 * 60_000;
/** How long it may take until all services run at the target, and how often that is looked at. */
const VERIFY_MS = 2 * 60_000;
const LOOK_MS = 1_000;
/** In so many looks one after the other all has to run: what ends as soon as it has begun does not. */
const GOOD_LOOKS = 3;
/** How long what takes the migration back is tried again, and how often. */
const UNDO_MS = 10 * 60_000;
const UNDO_AGAIN_MS = 5_000;
const CALL_MS = 60_000;

/** What may pass: the change that was under way there goes on, or the host comes back. */
const PASSING: readonly ErrorCode[] = [
  ...(['HOST_OFFLINE', 'STREAM_INTERRUPTED', 'SHUTDOWN', 'OVERLOADED', 'REPLACED'] as const),
  ...(['DOCKER_UNREACHABLE', 'TIMEOUT', 'CONFLICT'] as const),
];

export interface MigrationDeps {
  readonly stacks: Pick<Stacks, 'deploy' | 'act' | 'scale' | 'remove' | 'status'>;
  readonly transfers: Pick<VolumeTransfers, 'create' | 'get' | 'cancel' | 'unfinishedInto'>;
  readonly registry: Pick<HostRegistry, 'link' | 'subscribe'>;
  readonly clock: Clock;
  /** Writes down how far it is. */
  save(id: string, progress: MigrationProgress): Promise<void>;
  /** Writes down that a step has ended. Never rejects. */
  ended(step: string, error?: unknown): Promise<void>;
}

export class Migration {
  readonly log = new ProgressLog();
  readonly #deps: MigrationDeps;
  readonly #held: HeldStacks;
  /** Fires when the server stops. */
  readonly #signal: AbortSignal;
  #row: StackMigrationRow;

  constructor(row: StackMigrationRow, deps: MigrationDeps, held: HeldStacks, signal: AbortSignal) {
    this.#row = row;
    this.#deps = deps;
    this.#held = held;
    this.#signal = signal;
  }

  get step(): MigrationStep {
    return this.#row.step;
  }

  /** All up to the removal at the source. @throws FairleadError what a step fails with; `undo` takes it back */
  async carry(plan: MigrationPlan): Promise<RevisionRow> {
    const { from, to } = this.#row;
    await this.#take('stop', () =>
      this.#change(from, (target, options) => this.#deps.stacks.act(target, 'stop', options)),
    );
    await this.#take('images', () => this.#copyImages(plan.images));
    await this.#take('volumes', async () => {
      for (const volume of plan.volumes) await this.#copyVolume(volume);
    });
    const about = { action: 'migrate', source: plan.revision } as const;
    const revision = await this.#take('deploy', () =>
      this.#change(to, (target, options) =>
        this.#deps.stacks.deploy(target, plan.content, { ...options, state: plan.state }, about),
      ),
    );
    await this.#take('verify', () => this.#verify(plan.running));
    return revision;
  }

  /** Removes the stack at the source, unless it is to stay. From here on nothing is taken back. @throws FairleadError */
  async finish(): Promise<void> {
    if (this.#row.keeps) return;
    await this.#take('remove', () => this.#again(() => this.#remove(this.#row.from)));
  }

  /** Makes all be as it was before. @returns what could not be done, one sentence each @throws the signal's reason */
  async undo(): Promise<string[]> {
    const { from, to, volumes, ran } = this.#row;
    const left: string[] = [];
    const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
      this.log.add('undo', what);
      try {
        await this.#again(work);
      } catch (error) {
        this.#signal.throwIfAborted();
        left.push(`${what}: ${toWireError(error).message}`);
      }
    };
    for (const id of this.#deps.transfers.unfinishedInto(to.hostId, volumes)) {
      await attempt('end the transfer of a volume', () => this.#endTransfer(id));
    }
    if (this.#row.step === 'deploy' || this.#row.step === 'verify') {
      await attempt(`remove the stack ${to.stack} at the target`, () => this.#remove(to));
    }
    for (const volume of volumes) {
      await attempt(`remove the volume ${volume} at the target`, () => this.#removeVolume(volume));
    }
    if (ran) {
      await attempt(`start the stack ${from.stack} at the source`, () =>
        this.#change(from, (target, options) => this.#start(target, options)),
      );
    }
    await this.#deps.ended('undo', left.length === 0 ? undefined : new FairleadError('CONFLICT', left.join('; ')));
    return left;
  }

  /** Starts at the source what ran there. */
  #start(target: StackTarget, options: ChangeOptions): Promise<RunningChange<void>> {
    const { services } = this.#row;
    // One that an earlier version has left does not say what that was.
    if (Object.keys(services).length === 0) return this.#deps.stacks.act(target, 'start', options);
    return this.#deps.stacks.scale(target, services, options);
  }

  async #take<T>(step: MigrationStep, work: () => Promise<T>): Promise<T> {
    this.#signal.throwIfAborted();
    await this.#save({ step });
    this.log.add(step, 'begins');
    try {
      const result = await work();
      await this.#deps.ended(step);
      return result;
    } catch (error) {
      if (!this.#signal.aborted) await this.#deps.ended(step, error);
      throw error;
    }
  }

  async #save(change: Partial<MigrationProgress>): Promise<void> {
    this.#row = { ...this.#row, ...change };
    await this.#deps.save(this.#row.id, this.#row);
  }

  /** The link to a host, once it is there. @throws FairleadError HOST_OFFLINE when it stays away, the signal's reason */
  async #link(hostId: string): Promise<HostLink> {
    const { registry, clock } = this.#deps;
    this.#signal.throwIfAborted();
    const there = registry.link(hostId);
    if (there !== undefined) return there;
    this.log.add(this.#row.step, 'a host is away: waits for it');
    const { promise, resolve, reject } = Promise.withResolvers<HostLink>();
    const stop = registry.subscribe({ online: (link) => (link.hostId === hostId ? resolve(link) : undefined) });
    const timer = clock.setTimeout(() => {
      reject(new FairleadError('HOST_OFFLINE', `a host stayed away for ${RETURN_MS / 60_000} min`));
    }, RETURN_MS);
    const onAbort = () => reject(this.#signal.reason);
    this.#signal.addEventListener('abort', onAbort);
    try {
      return await promise;
    } finally {
      stop();
      timer.cancel();
      this.#signal.removeEventListener('abort', onAbort);
    }
  }

  async #change<T>(
    { hostId, stack }: StackKey,
    begin: (target: StackTarget, options: ChangeOptions) => Promise<RunningChange<T>>,
  ): Promise<T> {
    const link = await this.#link(hostId);
    const options = { by: this.#row.createdBy, signal: this.#signal, held: this.#held, turnMs: PATIENT_TURN_MS };
    const running = await begin({ link, stack }, options);
    for await (const { step, line } of running.progress()) this.log.add(step, line);
    return await running.done;
  }

  async #copyImages(images: readonly string[]): Promise<void> {
    for (const image of images) {
      this.log.add('images', `copies ${image}`);
      const [from, to] = [await this.#link(this.#row.from.hostId), await this.#link(this.#row.to.hostId)];
      await copyImage(image, { from, to }, this.#signal);
    }
  }

  async #copyVolume({ from, to, labels }: CarriedVolume): Promise<void> {
    const { transfers } = this.#deps;
    const ends = { from: this.#row.from.hostId, to: this.#row.to.hostId };
    const link = await this.#link(ends.to);
    await requireAbsent(link, to, this.#signal);
    await this.#save({ volumes: [...this.#row.volumes, to] });
    const config = { Name: to, Driver: 'local', Labels: labels };
    await link.call(volumeCreate, { config }, { signal: this.#signal, timeoutMs: CALL_MS });
    const { id } = await transfers.create(
      {
        ...{ from: { hostId: ends.from, volume: from }, to: { hostId: ends.to, volume: to } },
        ...{ replaces: false, forced: false },
      },
      { name: this.#row.createdBy },
    );
    await this.#transferred(id, from);
  }

  /** Waits for the end of a transfer. @throws FairleadError what it failed with, or what it waits for too long */
  async #transferred(id: string, volume: string): Promise<void> {
    const { transfers, clock } = this.#deps;
    let shown = '';
    for (;;) {
      const { state, step, bytes, total, progressAt, code, detail } = await transfers.get(id);
      if (state === 'done') return void this.log.add('volumes', `${volume}: done, ${bytes} bytes`);
      if (state === 'failed' || state === 'cancelled') {
        const why = detail ?? 'the transfer was cancelled';
        throw fromWireError({ code: code ?? 'CANCELLED', message: `the volume ${volume}: ${why}` });
      }
      if (state === 'waiting' && clock.now() - progressAt > RETURN_MS) {
        throw new FairleadError('TIMEOUT', `the volume ${volume}: nothing came for too long: ${detail ?? state}`);
      }
      const of = total === undefined ? '' : ` of about ${total}`;
      const line = `${volume}: ${step === 'apply' ? 'putting it in place' : state}, ${bytes}${of} bytes`;
      if (line !== shown) this.log.add('volumes', line);
      shown = line;
      await sleep(LOOK_MS, clock, this.#signal);
    }
  }

  /** @throws FairleadError TIMEOUT that names what does not run */
  async #verify(running: Readonly<Record<string, number>>): Promise<void> {
    const { clock, stacks } = this.#deps;
    const until = clock.monotonic() + VERIFY_MS;
    for (let good = 0; good < GOOD_LOOKS; ) {
      const { containers } = await this.#again(async () => {
        const link = await this.#link(this.#row.to.hostId);
        return await stacks.status({ link, stack: this.#row.to.stack }, this.#signal);
      });
      const missing = Object.entries(running).flatMap(([service, wanted]) => {
        const count = containers.filter((one) => runs(one, service)).length;
        return count >= wanted ? [] : [`${service} (${count} of ${wanted})`];
      });
      good = missing.length === 0 ? good + 1 : 0;
      if (clock.monotonic() >= until && good === 0) {
        const detail = `these services do not run at the target after ${VERIFY_MS / 1000} s: ${missing.join(', ')}`;
        throw new FairleadError('TIMEOUT', detail);
      }
      if (good < GOOD_LOOKS) await sleep(LOOK_MS, clock, this.#signal);
    }
  }

  /** Removes a stack with its volumes; one that is not there is what is wanted. */
  async #remove(key: StackKey): Promise<void> {
    try {
      await this.#change(key, (target, options) => this.#deps.stacks.remove(target, { volumes: true }, options));
    } catch (error) {
      if (!isFairleadError(error, 'NOT_FOUND')) throw error;
    }
  }

  async #removeVolume(id: string): Promise<void> {
    const link = await this.#link(this.#row.to.hostId);
    try {
      await link.call(volumeRemove, { id }, { signal: this.#signal, timeoutMs: CALL_MS });
    } catch (error) {
      if (!isFairleadError(error, 'NOT_FOUND')) throw error;
    }
  }

  async #endTransfer(id: string): Promise<void> {
    const { state, step } = await this.#deps.transfers.get(id);
    if (['done', 'failed', 'cancelled'].includes(state)) return;
    // What is being put in place cannot be ended: CONFLICT, and so it is tried again.
    if (step === 'apply') throw new FairleadError('CONFLICT', 'a volume is being put in place');
    await this.#deps.transfers.cancel(id);
  }

  /** Tries again what fails with something that may pass. */
  async #again<T>(work: () => Promise<T>): Promise<T> {
    const { clock } = this.#deps;
    const until = clock.monotonic() + UNDO_MS;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        this.#signal.throwIfAborted();
        const isPassing = PASSING.some((code) => isFairleadError(error, code));
        if (!isPassing || clock.monotonic() >= until) throw error;
        await sleep(UNDO_AGAIN_MS, clock, this.#signal);
      }
    }
  }
}

/** @throws FairleadError CONFLICT for a volume that has come to be since the check: it would be removed if all is taken back */
async function requireAbsent(link: HostLink, id: string, signal: AbortSignal): Promise<void> {
  try {
    await link.call(volumeInspect, { id }, { signal, timeoutMs: CALL_MS });
  } catch (error) {
    if (isFairleadError(error, 'NOT_FOUND')) return;
    throw error;
  }
  throw new FairleadError('CONFLICT', `the target has a volume ${id} by now`);
}

/** Whether a container is of a service, and runs; one that says how healthy it is has to be healthy. */
function runs({ State, Status, Labels }: Record<string, unknown>, service: string): boolean {
  const labels = typeof Labels === 'object' && Labels !== null ? (Labels as Record<string, unknown>) : {};
  const isHealthy = !/\((?:unhealthy|health: starting)\)/.test(String(Status));
  return labels['com.docker.compose.service'] === service && State === 'running' && isHealthy;
}
