/** What the tests of the authority share: a store in memory, a clock moved by hand, a log that is kept. */
import { pino } from 'pino';
import { Authority, type AuthorityOptions } from '../../../../server/authority/authority.ts';
import type { ChangeEntry, Settings } from '../../../../server/authority/ports.ts';
import type { Clock, Timer } from '../../../../shared/clock.ts';
import { type Cleanup, tempDir } from '../../../support/tmp.ts';

export class MemorySettings implements Settings {
  readonly values = new Map<string, Buffer>();

  async get(key: string): Promise<Buffer | undefined> {
    return this.values.get(key);
  }

  async setOnce(key: string, value: Uint8Array): Promise<Buffer> {
    const standing = this.values.get(key) ?? Buffer.from(value);
    this.values.set(key, standing);
    return standing;
  }
}

/** A clock that stands still until it is moved. Timers fire in their order, and what they start may finish. */
class ManualClock implements Clock {
  #now: number;
  readonly #timers = new Map<Timer, { at: number; callback: () => void }>();

  constructor(now: number) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  get pending(): number {
    return this.#timers.size;
  }

  setTimeout(callback: () => void, ms: number): Timer {
    const timer = { cancel: () => void this.#timers.delete(timer) };
    this.#timers.set(timer, { at: this.#now + ms, callback });
    return timer;
  }

  setInterval(): Timer {
    throw new Error('the authority has no intervals');
  }

  /** Sets the wall clock, as an administrator does: no timer notices. */
  set(now: number): void {
    const moved = now - this.#now;
    this.#now = now;
    for (const timer of this.#timers.values()) timer.at += moved;
  }

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (due === undefined) break;
      const [timer, { at, callback }] = due;
      this.#timers.delete(timer);
      this.#now = at;
      callback();
      await this.#settled();
    }
    this.#now = end;
  }

  /** Until the callback has set its next timer: the thread pool takes the time it takes. */
  async #settled(): Promise<void> {
    const deadline = performance.now() + 5000;
    while (this.#timers.size === 0 && performance.now() < deadline) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

export interface TestAuthority {
  /** The audit rows of the changes of the CA. */
  changes: ChangeEntry[];
  options: AuthorityOptions;
  settings: MemorySettings;
  clock: ManualClock;
  /** What was logged, one JSON object a line. */
  logged: string[];
  open(changes?: Partial<AuthorityOptions>): Promise<Authority>;
}

/** An authority in a directory of its own; those that are opened are closed after the test. */
export async function testAuthority(cleanup: Cleanup): Promise<TestAuthority> {
  const settings = new MemorySettings();
  const clock = new ManualClock(Date.now());
  const logged: string[] = [];
  const changes: ChangeEntry[] = [];
  const options: AuthorityOptions = {
    settings,
    commit: async (key, value, entry) => {
      settings.values.set(key, Buffer.from(value));
      changes.push(entry);
    },
    certificates: { active: async () => [] },
    dataDir: await tempDir(cleanup, 'authority'),
    publicHosts: ['localhost', '127.0.0.1'],
    clock,
    log: pino({}, { write: (line: string) => logged.push(line) }),
    caKeyBits: 2048,
  };
  const open = async (changes: Partial<AuthorityOptions> = {}) => {
    const authority = await Authority.open({ ...options, ...changes });
    cleanup.after(() => authority.close());
    return authority;
  };
  return { options, settings, clock, logged, changes, open };
}
