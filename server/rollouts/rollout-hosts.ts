/** The hosts of a rollout: how far each is, which have changed, and since when those that are offline are. */
import type { RolloutHost } from '../store/rollouts.ts';

/** A host that has been away for less, a restart of the server included, may be on its way back: its stage waits for it. */
export const AWAY_MS = 60_000;

export class RolloutHosts {
  /** In the order in which they are asked. */
  readonly #hosts: Map<string, RolloutHost>;
  readonly #away: Map<string, number>;
  readonly #changed = new Set<string>();
  /** The last one that has hosts. */
  readonly lastStage: number;

  /** @param away since when each host that is offline is; one that is online is not in it */
  constructor(hosts: readonly RolloutHost[], away: ReadonlyMap<string, number>) {
    this.#hosts = new Map(hosts.toSorted((a, b) => a.place - b.place).map((host) => [host.hostId, host]));
    this.#away = new Map(away);
    this.lastStage = hosts.reduce((last, { stage }) => Math.max(last, stage), 0);
  }

  [Symbol.iterator](): Iterator<RolloutHost> {
    return this.#hosts.values();
  }

  find(hostId: string): RolloutHost | undefined {
    return this.#hosts.get(hostId);
  }

  filter(isWanted: (host: RolloutHost) => boolean): RolloutHost[] {
    return [...this.#hosts.values()].filter(isWanted);
  }

  count(state: RolloutHost['state']): number {
    let count = 0;
    for (const host of this) if (host.state === state) count++;
    return count;
  }

  update(host: RolloutHost, change: Partial<RolloutHost>): void {
    this.#hosts.set(host.hostId, { ...host, ...change });
    this.#changed.add(host.hostId);
  }

  /** Those that have changed since the last call. */
  takeChanged(): RolloutHost[] {
    const changed = [...this.#changed].flatMap((hostId) => this.#hosts.get(hostId) ?? []);
    this.#changed.clear();
    return changed;
  }

  presence(hostId: string, isOnline: boolean, now: number): void {
    if (!this.#hosts.has(hostId)) return;
    if (isOnline) this.#away.delete(hostId);
    else if (!this.#away.has(hostId)) this.#away.set(hostId, now);
  }

  /** Since when a host is offline; undefined: it is not. */
  awaySince({ hostId }: RolloutHost): number | undefined {
    return this.#away.get(hostId);
  }

  /** Whether a host is offline for longer than one that is on its way back. */
  isAway(host: RolloutHost, now: number): boolean {
    const since = this.awaySince(host);
    return since !== undefined && now - since >= AWAY_MS;
  }

  /** Whether a host of a stage was upgraded. */
  isProven(stage: number): boolean {
    for (const host of this) if (host.stage === stage && host.state === 'done') return true;
    return false;
  }

  /** The next stage that has hosts. */
  stageBehind(stage: number): number {
    let next = this.lastStage;
    for (const host of this) if (host.stage > stage) next = Math.min(next, host.stage);
    return next;
  }
}
