/** What the streams of one session hold, within its own budget and the process's pool. */
import type { MemoryPool } from './memory-pool.ts';
import type { SessionLimits } from './session-limits.ts';

/** What one session may hold of the pool in messages in the making. */
const ASSEMBLY_PART = 1 / 8;

export class SessionMemory {
  readonly #limits: SessionLimits;
  readonly #pool: MemoryPool | undefined;
  #windowBytes = 0;
  #assemblyBytes = 0;
  #queuedBytes = 0;
  #closed = false;

  constructor(limits: SessionLimits, pool: MemoryPool | undefined) {
    this.#limits = limits;
    this.#pool = pool;
  }

  /** What counts in the pool, of windows, messages in the making and bytes that wait to be sent. */
  get bytes(): number {
    return this.#closed ? 0 : this.#windowBytes + this.#assemblyBytes + this.#queuedBytes;
  }

  /** Whether there is room for the initial window of one more stream. */
  get hasStreamRoom(): boolean {
    return this.#pool?.hasRoom(this.#limits.initialWindowBytes) ?? true;
  }

  /** What is left for windows, in bytes; may be negative. */
  get windowRoom(): number {
    const own = this.#limits.budgetBytes - this.#windowBytes;
    return this.#pool === undefined ? own : Math.min(own, this.#pool.windowRoom);
  }

  /** The largest window that one of so many streams may have now, in bytes. */
  maxWindow(streams: number): number {
    const { budgetBytes, initialWindowBytes, windowShareBytes } = this.#limits;
    const own = Math.floor(budgetBytes / Math.max(1, streams));
    return this.#pool === undefined ? own : Math.min(own, this.#pool.maxWindow(initialWindowBytes, windowShareBytes));
  }

  countWindow(bytes: number): void {
    this.#windowBytes += bytes;
    this.#count(bytes);
  }

  countQueued(bytes: number): void {
    this.#queuedBytes += bytes;
    this.#count(bytes);
  }

  /** @returns false if there is no room */
  countAssembly(bytes: number): boolean {
    if (bytes > 0 && this.#assemblyBytes + bytes > this.#assemblyLimit) return false;
    if (bytes > 0 && this.#pool?.hasRoom(bytes) === false) return false;
    this.#assemblyBytes += bytes;
    this.#count(bytes);
    return true;
  }

  /** One peer alone must not take what all others need for their streams. */
  get #assemblyLimit(): number {
    return Math.min(this.#limits.budgetBytes, ASSEMBLY_PART * (this.#pool?.totalBytes ?? Number.POSITIVE_INFINITY));
  }

  #count(bytes: number): void {
    if (!this.#closed) this.#pool?.count(bytes);
  }

  /** Gives everything back to the pool: the session has ended. Idempotent. */
  close(): void {
    this.#count(-this.bytes);
    this.#closed = true;
  }
}
