/**
 * Rollouts: a release that is brought to many hosts, stage after stage. Each goes on by itself, also after a restart, until all
 * its hosts have had their end, too many have failed, or it is aborted.
 */
import { randomUUID } from 'node:crypto';
import { FairleadError } from '../../shared/errors.ts';
import { validate } from '../../shared/validate.ts';
import type { Actor } from '../audit/audit.ts';
import type { Hosts } from '../hosts/hosts.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { Releases } from '../releases/releases.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { NewRollout, RolloutHost, RolloutHostState, RolloutProgress, RolloutRow } from '../store/rollouts.ts';
import type { HostUpgrades } from '../upgrades/host-upgrades.ts';
import { RolloutMachine } from './machine.ts';
import {
  DEFAULT_OPTIONS,
  MAX_ROLLOUT_HOSTS,
  type RolloutOptions,
  RolloutPlan,
  type RolloutSelect,
  type Stage,
} from './options.ts';
import { planStages } from './plan.ts';
import { type Figures, noFigures } from './progress.ts';
import { RolloutRun, type RunDeps } from './run.ts';
import { type Selected, selectHosts } from './select.ts';

/** Rollouts that have not ended. */
const MAX_ACTIVE = 16;
/** Of those that have ended, how many are kept. */
const MAX_ENDED = 100;
const LONG_AGO = Number.NEGATIVE_INFINITY;

export interface RolloutRequest {
  /** The newest release that is ready, unless one of these is given. */
  readonly sequence?: number | undefined;
  readonly version?: string | undefined;
  readonly select: RolloutSelect;
  readonly options: Partial<RolloutOptions>;
  /** Absent: only planned, until it is resumed. */
  readonly starts: boolean;
}

/** A rollout as it stands. */
export interface Rollout extends Omit<NewRollout, 'plan'> {
  readonly plan: RolloutPlan;
  readonly progress: RolloutProgress;
  readonly total: Figures;
  readonly stages: readonly { readonly hosts: Stage; readonly figures: Figures }[];
}

export interface ListedHost extends Omit<RolloutHost, 'state'> {
  /** `waiting`: it should have been asked, and is offline. */
  readonly state: RolloutHostState | 'waiting';
}

export interface RolloutsDeps extends RunDeps {
  readonly upgrades: RunDeps['upgrades'] & Pick<HostUpgrades, 'onChange'>;
  readonly releases: RunDeps['releases'] & Pick<Releases, 'onRemoval'>;
  readonly registry: HostRegistry;
  readonly hosts: Pick<Hosts, 'onScopeChange'>;
}

export class Rollouts {
  readonly #deps: RolloutsDeps;
  /** Those that have not ended. */
  readonly #runs = new Map<string, RolloutRun>();
  readonly #stops: readonly (() => void)[];
  #creating: Promise<void> = Promise.resolve();

  /** Goes on with what an earlier run has left. @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: RolloutsDeps): Promise<Rollouts> {
    const { rollouts } = deps.store;
    const rows = await rollouts.active();
    const opened = new Rollouts(deps);
    const now = deps.clock.monotonic();
    // They have had no time to connect.
    for (const row of rows) opened.#add(row, planOf(row), await rollouts.hosts(row.id), now);
    return opened;
  }

  private constructor(deps: RolloutsDeps) {
    this.#deps = deps;
    const all = (tell: (run: RolloutRun) => void) => {
      for (const run of this.#runs.values()) tell(run);
    };
    this.#stops = [
      deps.registry.subscribe({
        online: ({ hostId }) => all((run) => run.presence(hostId, true)),
        offline: ({ hostId }, { code }) =>
          all((run) => {
            run.presence(hostId, false);
            if (code === 'CERT_REVOKED') run.suspect(hostId);
          }),
      }),
      deps.upgrades.onChange((row) => all((run) => run.heard(row))),
      deps.hosts.onScopeChange((hostId, tags) => {
        if (tags === undefined) all((run) => run.removed(hostId));
      }),
    ];
    deps.releases.onRemoval(async (sequence) => {
      const user = [...this.#runs.values()].find(({ row }) => row.sequence === sequence);
      return user && `the rollout ${user.row.id} brings it to hosts`;
    });
  }

  /**
   * Plans a rollout, and begins it if that is asked for.
   * @throws FairleadError VALIDATION, HOST_NOT_FOUND, NOT_FOUND without such a release; CONFLICT if one of the hosts is in another
   *   rollout, or if there is nothing to do; OVERLOADED
   */
  create(request: RolloutRequest, actor: Actor): Promise<Rollout> {
    // One after the other, so that no two take the same host.
    const made = this.#creating.then(() => this.#create(request, actor));
    this.#creating = made.then(
      () => undefined,
      () => undefined,
    );
    return made;
  }

  async #create({ sequence, version, select, options, starts }: RolloutRequest, actor: Actor): Promise<Rollout> {
    const { releases, clock, store } = this.#deps;
    if (this.#runs.size >= MAX_ACTIVE) {
      throw new FairleadError('OVERLOADED', `${MAX_ACTIVE} rollouts have not ended yet; wait for one, or abort some`);
    }
    const release = releases.chosen({ sequence, version });
    const plan: RolloutPlan = { select, options: { ...DEFAULT_OPTIONS, ...options } };
    const selected = await selectHosts(this.#deps, select, release);
    const now = clock.now();
    const id = randomUUID();
    const hosts = hostsOf(id, selected, plan.options, now);
    const first = hosts.find(({ stage }) => stage >= 0);
    if (first === undefined) throw nothingToDo(selected);
    await this.#requireFree(hosts);
    const row: RolloutRow = {
      ...{ id, sequence: release.sequence, version: release.version, plan: JSON.stringify(plan) },
      ...{ createdBy: actor.name, createdAt: now },
      progress: {
        ...{ state: 'planned', stage: first.stage, stageAt: now },
        ...{ reason: undefined, forgiven: 0, endedAt: undefined },
      },
    };
    await store.transaction((tables) => tables.rollouts.insert(row, hosts));
    // Who is offline when it begins is waited for apart from then on.
    const run = this.#add(row, plan, hosts, LONG_AGO);
    if (starts) await run.command((machine, at) => machine.resume(at));
    return await this.get(id);
  }

  /** @throws FairleadError NOT_FOUND, CONFLICT, STORE_FULL, STORE_UNAVAILABLE */
  async pause(id: string): Promise<Rollout> {
    return await this.#command(id, (machine, now) => machine.pause(now));
  }

  /** As `pause`. */
  async resume(id: string): Promise<Rollout> {
    return await this.#command(id, (machine, now) => machine.resume(now));
  }

  /** As `pause`. */
  async abort(id: string): Promise<Rollout> {
    return await this.#command(id, (machine, now) => machine.abort(now));
  }

  /** @throws FairleadError NOT_FOUND */
  async get(id: string): Promise<Rollout> {
    return await this.#view(await this.#find(id));
  }

  /** Newest first. */
  async list(page: PageRequest): Promise<Page<Rollout>> {
    const { items, ...rest } = await this.#deps.store.rollouts.list(page);
    const views: Rollout[] = [];
    for (const row of items) views.push(await this.#view(row));
    return { items: views, ...rest };
  }

  /** A page of the hosts of a rollout in the order in which they are asked. @throws FairleadError NOT_FOUND */
  async hosts(id: string, page: PageRequest, state?: RolloutHostState): Promise<Page<ListedHost>> {
    await this.#find(id);
    const { items, ...rest } = await this.#deps.store.rollouts.listHosts(id, page, state);
    const machine = this.#runs.get(id)?.machine;
    const now = this.#deps.clock.monotonic();
    const listed = items.map((host): ListedHost => {
      return machine?.isWaiting(host, now) ? { ...host, state: 'waiting' } : host;
    });
    return { items: listed, ...rest };
  }

  /** Leaves what goes on to the next start. Idempotent. */
  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    await Promise.all([...this.#runs.values()].map((run) => run.close()));
  }

  async #command(id: string, what: (machine: RolloutMachine, now: number) => void): Promise<Rollout> {
    const run = this.#runs.get(id);
    if (run === undefined) {
      const { progress } = await this.#find(id);
      throw new FairleadError('CONFLICT', `the rollout is ${progress.state} and over`);
    }
    await run.command(what);
    return await this.get(id);
  }

  /** @param awaySince since when those that are offline count as that, by the monotonic clock */
  #add(row: RolloutRow, { options }: RolloutPlan, hosts: readonly RolloutHost[], awaySince: number): RolloutRun {
    const { registry, clock } = this.#deps;
    const gone = hosts.filter(({ hostId }) => registry.link(hostId) === undefined);
    const away = new Map(gone.map(({ hostId }) => [hostId, awaySince]));
    const now = clock.monotonic();
    const toWall = (at: number) => clock.now() + Math.round(at - clock.monotonic());
    const machine = new RolloutMachine({ options, progress: row.progress, hosts, away, now, toWall });
    const run = new RolloutRun(row, machine, this.#deps, () => this.#ended(run));
    this.#runs.set(row.id, run);
    return run;
  }

  #ended(run: RolloutRun): void {
    const { store, log } = this.#deps;
    this.#runs.delete(run.row.id);
    void run.close();
    const pruned = store.transaction((tables) => tables.rollouts.prune(MAX_ENDED));
    pruned.catch((error: unknown) => log.warn({ err: error }, 'ended rollouts could not be forgotten'));
  }

  /** @throws FairleadError CONFLICT if a host is in another rollout, and has not had its end there */
  async #requireFree(hosts: readonly RolloutHost[]): Promise<void> {
    for (const run of this.#runs.values()) {
      const taken = hosts.find(({ hostId, stage }) => stage >= 0 && run.has(hostId));
      if (taken === undefined) continue;
      const name = (await this.#deps.store.hosts.find(taken.hostId))?.name ?? taken.hostId;
      const { id, version } = run.row;
      const detail = `the host ${name} is in the rollout ${id} of ${version}, which is ${run.machine.progress.state}`;
      throw new FairleadError('CONFLICT', `${detail}: wait for its end, or abort it`);
    }
  }

  async #view(row: RolloutRow): Promise<Rollout> {
    const { id, sequence, version, createdBy, createdAt } = row;
    const plan = planOf(row);
    const machine = this.#runs.get(id)?.machine;
    const counted = machine?.figures(this.#deps.clock.monotonic()) ?? (await this.#counted(id, plan));
    const stages = plan.options.stages.map((hosts, index) => ({
      hosts,
      figures: counted.stages[index] ?? noFigures(),
    }));
    const progress = machine?.progress ?? row.progress;
    return { id, sequence, version, createdBy, createdAt, plan, progress, total: counted.total, stages };
  }

  async #counted(id: string, { options }: RolloutPlan): Promise<{ total: Figures; stages: Figures[] }> {
    const total = noFigures();
    const stages = options.stages.map(noFigures);
    for (const { stage, state, hosts } of await this.#deps.store.rollouts.count(id)) {
      for (const figures of [total, stages[stage]]) {
        if (figures === undefined) continue;
        figures.hosts += hosts;
        figures[state] += hosts;
      }
    }
    return { total, stages };
  }

  /** @throws FairleadError NOT_FOUND */
  async #find(id: string): Promise<RolloutRow> {
    const row = await this.#deps.store.rollouts.find(id);
    if (row === undefined) throw new FairleadError('NOT_FOUND', `there is no rollout ${id}`);
    return row;
  }
}

function planOf({ plan }: Pick<RolloutRow, 'plan'>): RolloutPlan {
  return validate(RolloutPlan, JSON.parse(plan), 'the plan of a rollout in the store', 'STORE_UNAVAILABLE');
}

/** All hosts of a rollout, those behind the others that the release is not for. @throws FairleadError VALIDATION */
function hostsOf(id: string, { candidates, unfit }: Selected, { stages }: RolloutOptions, now: number): RolloutHost[] {
  if (candidates.length + unfit.length > MAX_ROLLOUT_HOSTS) {
    throw new FairleadError('VALIDATION', `a rollout is for ${MAX_ROLLOUT_HOSTS} hosts at most: narrow the selection`);
  }
  const nothing = { askedAt: undefined, endedAt: undefined, code: undefined, detail: undefined };
  const placed = planStages(id, candidates, stages).map((host): RolloutHost => {
    return { ...nothing, ...host, state: 'pending' };
  });
  const others = unfit.map((host, index): RolloutHost => {
    return { ...nothing, ...host, place: placed.length + index, stage: -1, state: 'skipped', endedAt: now };
  });
  return [...placed, ...others];
}

function nothingToDo({ candidates, unfit }: Selected): FairleadError {
  const [first] = unfit;
  if (candidates.length > 0) return new FairleadError('CONFLICT', 'none of the stages has a host');
  if (first === undefined) return new FairleadError('CONFLICT', 'no host is selected');
  const others = unfit.length === 1 ? '' : `, and ${unfit.length - 1} more`;
  return new FairleadError(
    'CONFLICT',
    `the release is for none of the hosts that are selected: ${first.detail}${others}`,
  );
}
