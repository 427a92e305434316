/** A store in a directory of its own, and a clock that stands still until it is told to go on. */
import { join } from 'node:path';
import { openStore, type Store } from '../../../../server/store/store.ts';
import type { Clock } from '../../../../shared/clock.ts';
import { type Cleanup, tempDir } from '../../../support/tmp.ts';

export const START = Date.UTC(2030, 0, 1);

/** Time passes by `pass` alone; it runs no timers, since nothing here sets any. */
export class StillClock implements Clock {
  #now = START;

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  pass(ms: number): void {
    this.#now += ms;
  }

  setTimeout(): never {
    throw new Error('a timer was set');
  }

  setInterval(): never {
    throw new Error('a timer was set');
  }
}

export interface Opened {
  readonly store: Store;
  readonly clock: StillClock;
  readonly dataDir: string;
}

/** Closed and removed when the test ends. */
export async function openTestStore(cleanup: Cleanup): Promise<Opened> {
  const dataDir = join(await tempDir(cleanup, 'store'), 'data');
  const clock = new StillClock();
  const store = await openStore({ dataDir, clock });
  cleanup.after(() => store.close());
  return { store, clock, dataDir };
}

/** A host to insert. */
export function aHost(id: string, name: string) {
  return {
    id,
    name,
    hostname: name,
    os: 'linux',
    arch: 'x64',
    agentVersion: '1.0.0',
    tags: ['a'],
    createdAt: START,
  };
}

/** A certificate to insert; pins are unique per serial. */
export function aCertificate(serial: string, hostId: string, issuedAt = START) {
  return {
    serial,
    hostId,
    spkiPin: `sha256:${serial.toLowerCase().padStart(64, '0')}`,
    notBefore: START,
    notAfter: START + 1000,
    issuedAt,
    pem: `pem ${serial}`,
  };
}

export const HOST_IDS = [
  '11111111-1111-4111-8111-111111111111',
  '22222222-2222-4222-8222-222222222222',
  '33333333-3333-4333-8333-333333333333',
] as const;
