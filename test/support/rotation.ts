/** A fleet as the server joins it, over a real CA that can be rotated and killed, with small keys; no API. */
import { join } from 'node:path';
import { pino } from 'pino';
import { Audit } from '../../server/audit/audit.ts';
import { Authority } from '../../server/authority/authority.ts';
import { Rotation, type RotationAction } from '../../server/authority/rotation.ts';
import { type Fleet, openFleet } from '../../server/fleet.ts';
import type { Closers, PartOptions } from '../../server/parts.ts';
import type { Records } from '../../server/records.ts';
import { openStore, type Store } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import type { TestCa } from '../unit/certs/fixtures.ts';
import { ADMIN, enrollHost } from './renewal.ts';
import { type Cleanup, defer, tempDir } from './tmp.ts';

const log = pino({ level: 'silent' });

/** What outlives a server that is killed. */
export interface Place {
  readonly dataDir: string;
  port: number;
}

export async function newPlace(cleanup: Cleanup): Promise<Place> {
  return { dataDir: await tempDir(cleanup, 'rotation'), port: 0 };
}

export interface TestFleet extends Pick<Fleet, 'registry' | 'succession'> {
  readonly store: Store;
  readonly authority: Authority;
  readonly rotation: Rotation;
  take(action: RotationAction, force?: boolean): Promise<void>;
  enroll(name: string): Promise<{ stateDir: string; hostId: string; serial: string }>;
  /** As a kill would: nothing is said to anybody. */
  kill(): Promise<void>;
}

export async function startFleet(cleanup: Cleanup, place: Place): Promise<TestFleet> {
  const clock = systemClock;
  const { dataDir } = place;
  const store = await openStore({ dataDir: join(dataDir, 'data'), clock });
  const audit = new Audit({ store, clock, log });
  const authority = await Authority.open({
    settings: {
      get: (key) => store.settings.get(key),
      setOnce: (key, value) => store.transaction((tables) => tables.settings.setOnce(key, value)),
    },
    commit: (key, value) => store.transaction(async (tables) => void (await tables.settings.set(key, value))),
    certificates: store.certificates,
    ...{ dataDir, clock, log, publicHosts: ['localhost'], caKeyBits: 2048 },
  });
  const closers: Closers = [];
  const metrics = { intervalMs: 0, kept: { samples: 3600, fine: 3600, coarse: 3600 } };
  const config = { recoverWithinMs: 0, streamMemoryBytes: 64 << 20, balancers: undefined, metrics };
  const options = { config, clock, log, random: () => 0, closers } as unknown as PartOptions;
  const { agents, registry, succession } = await openFleet(options, { store, audit, authority } as Records);
  place.port = await agents.listen('127.0.0.1', place.port);
  const rotation = new Rotation({
    ...{ authority, hosts: store.hostTrust, operatorCertificates: store.operatorCertificates, clock, log },
    caKeyBits: 2048,
  });
  let killed: Promise<void> | undefined;
  const end = async () => {
    await agents.close(0);
    for (const close of closers.reverse()) await close();
    authority.close();
    await store.close();
  };
  const kill = () => {
    killed ??= end();
    return killed;
  };
  defer(cleanup, kill);
  return {
    ...{ store, authority, rotation, registry, succession, kill },
    take: (action, force = false) => rotation.take(action, { force }, ADMIN),
    async enroll(name) {
      const { ca, installationId, active } = authority;
      const own = { ca: { ca, installationId } as TestCa, port: place.port };
      return await enrollHost(cleanup, own, { store, active }, { name });
    },
  };
}
