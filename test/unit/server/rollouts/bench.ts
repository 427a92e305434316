/** Rollouts as the server runs them, with hosts and upgrades that obey a test. */
import { randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { releaseView } from '../../../../server/releases/release-view.ts';
import { type RolloutRequest, Rollouts } from '../../../../server/rollouts/rollouts.ts';
import type { HostUpgradeRow, HostUpgradeState } from '../../../../server/store/host-upgrades.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import type { WishOptions } from '../../../../server/upgrades/host-upgrades.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { agentUpgrade } from '../../../../shared/messages/release.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { testRelease } from '../../../support/releases.ts';
import { defer, tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { FakeHost } from '../routes/fake-host.ts';
import { aHost } from '../store/fixture.ts';

export const ANN = { name: 'ann' };
export const ALL = [{ percent: 100 }];
export const RELEASE = releaseView({
  ...{ sequence: 7, version: '9.0.0', verified: true, createdBy: 'ann', createdAt: 0 },
  files: [{ signed: testRelease({ version: '9.0.0', sequence: 7, bytes: 10 }).signed, gzBytes: 10, storedAt: 0 }],
});

/** Upgrades of hosts that end when a test says so. */
export class FakeUpgrades {
  readonly wished: string[] = [];
  readonly givenUp: string[] = [];
  readonly rows = new Map<string, HostUpgradeRow>();
  readonly #listeners = new Set<(row: HostUpgradeRow) => void>();
  /** Thrown at the next wish. */
  refusal: Error | undefined;

  onChange = (listener: (row: HostUpgradeRow) => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  find = async (hostId: string) => {
    const row = this.rows.get(hostId);
    return row && { ...row, receivedBytes: undefined, totalBytes: undefined };
  };

  wish = async (hostId: string, { release, rolloutId }: WishOptions) => {
    const { refusal } = this;
    this.refusal = undefined;
    if (refusal !== undefined) throw refusal;
    this.wished.push(hostId);
    const { sequence, version: to } = release;
    this.rows.set(hostId, {
      ...{ hostId, sequence, from: '1.0.0', to, state: 'offered', rolloutId, code: undefined, detail: undefined },
      ...{ createdBy: 'ann', createdAt: 0, offeredAt: 0, changedAt: 0, endedAt: undefined },
    });
    return { hostId, hostName: hostId, from: '1.0.0', to, sequence, state: 'offered' as const };
  };

  giveUp = (hostId: string) => void this.givenUp.push(hostId);

  end(hostId: string, state: HostUpgradeState): void {
    const before = this.rows.get(hostId);
    if (before === undefined) throw new Error(`${hostId} was not asked`);
    const row = { ...before, state, endedAt: 1 };
    this.rows.set(hostId, row);
    for (const listener of this.#listeners) listener(row);
  }
}

/** The session of a host, which a test can end. */
export class Link extends FakeHost {
  override readonly hostId: string;
  readonly #end = Promise.withResolvers<FairleadError>();
  override readonly closed = this.#end.promise;

  constructor(hostId: string, able = true) {
    super();
    this.hostId = hostId;
    const description = this.describe();
    const upgrade = { able, sequence: 0, ...(able ? {} : { reason: 'it runs from a checkout' }) };
    const facts = { agentVersion: '1.0.0', os: 'linux', arch: 'x64', capabilities: [agentUpgrade.name], upgrade };
    this.describe = () => ({ ...description, ...facts });
  }

  end(code: 'CERT_REVOKED' | 'SHUTDOWN'): void {
    this.#end.resolve(new FairleadError(code, 'gone'));
  }
}

export interface Bench {
  readonly store: Store;
  readonly clock: FakeClock;
  readonly registry: HostRegistry;
  readonly upgrades: FakeUpgrades;
  readonly told: string[];
  readonly hosts: string[];
  readonly links: Link[];
  remove(hostId: string): void;
  rollouts: Rollouts;
  open(): Promise<Rollouts>;
}

/** Rollouts over a store of their own, and the sessions of so many hosts. */
export async function bench(t: TestContext, count: number): Promise<Bench> {
  const clock = new FakeClock();
  const store = await openStore({ dataDir: `${await tempDir(t, 'rollouts')}/data`, clock });
  defer(t, () => store.close());
  const hosts = Array.from({ length: count }, () => randomUUID());
  for (const [index, id] of hosts.entries()) await store.hosts.insert(aHost(id, `host-${index}`));
  const registry = new HostRegistry();
  const links = hosts.map((id) => new Link(id));
  for (const link of links) registry.attach(link);
  const upgrades = new FakeUpgrades();
  const removals = new Set<(hostId: string, tags: undefined) => void>();
  const told: string[] = [];
  const open = async () => {
    const rollouts = await Rollouts.open({
      ...{ store, clock, registry, upgrades, random: () => 0.5, log: pino({ level: 'silent' }) },
      releases: { chosen: () => RELEASE, onRemoval: () => undefined },
      audit: { recordOrLog: async () => undefined },
      tell: ({ type }) => void told.push(type),
      hosts: {
        onScopeChange: (listener) => {
          removals.add(listener);
          return () => removals.delete(listener);
        },
      },
    });
    defer(t, () => rollouts.close());
    return rollouts;
  };
  const remove = (hostId: string) => {
    for (const listener of removals) listener(hostId, undefined);
  };
  return { ...{ store, clock, registry, upgrades, told, hosts, links, remove, open }, rollouts: await open() };
}

export function request(more: Partial<RolloutRequest> = {}): RolloutRequest {
  return { select: { all: true }, options: { stages: ALL, pauseSeconds: 0 }, starts: true, ...more };
}

export async function asked(upgrades: FakeUpgrades, count: number): Promise<void> {
  await waitFor(`${count} hosts to be asked`, () => upgrades.wished.length === count, {
    context: () => `${upgrades.wished.length} were`,
  });
}

export async function until(rollouts: Rollouts, id: string, state: string): Promise<void> {
  await waitFor(`it to be ${state}`, async () => (await rollouts.get(id)).progress.state === state);
}
