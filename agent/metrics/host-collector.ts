/** Looks at the counters of this host, for all who ask, and never twice at once. */
import { asObject } from '../../shared/docker/json.ts';
import type { Reply } from '../../shared/messages/kind.ts';
import type { hostMetrics } from '../../shared/messages/metrics.ts';
import { sleep } from '../../shared/sleep.ts';
import type { DockerEngine } from '../docker/engine.ts';
import type { InterfaceBytes } from './proc.ts';
import { type Reading, readHost } from './reading.ts';
import { sampleBetween } from './sample.ts';

/** Where Docker keeps its data changes with its configuration alone; while that is unknown, it is asked again soon. */
const ROOT_KNOWN_MS = 3_600_000;
const ROOT_UNKNOWN_MS = 60_000;
const ROOT_TIMEOUT_MS = 5_000;
/** A disk that does not answer, as a network's may not, must not hold up all else. */
const READ_TIMEOUT_MS = 3_000;
/** What a sample is about that has no look before it. */
const FIRST_SAMPLE_MS = 1_000;
/** Looks that are remembered, those of late: of the server that samples, and of all who asked in between. */
const MAX_KEPT = 32;

type Read = typeof readHost;

/** A look, with the number by which a later one names it. */
interface Look {
  readonly number: number;
  readonly reading: Reading;
}

export class HostCollector {
  readonly #docker: DockerEngine;
  readonly #read: Read;
  /** By their numbers, in their order. */
  readonly #kept = new Map<number, Look>();
  #last = 0;
  #looking: Promise<Look> | undefined;
  /** Whether the disk is being looked at: one that does not answer is not asked again meanwhile. */
  #disk = false;
  #root: { readonly path: string | undefined; readonly until: number } | undefined;
  #asking = false;

  constructor(docker: DockerEngine, read: Read = readHost) {
    this.#docker = docker;
    this.#read = read;
  }

  /**
   * What was used since the look with the number `since`, if that is still known, or else in the next second.
   * @throws the signal's reason
   */
  async sample(since: number | undefined, signal: AbortSignal): Promise<Reply<typeof hostMetrics>> {
    let before = since === undefined ? undefined : this.#kept.get(since);
    if (before === undefined) {
      before = await this.#look();
      await sleep(FIRST_SAMPLE_MS, this.#docker.clock, signal);
    }
    const after = await this.#look();
    return { reading: after.number, sample: sampleBetween(before.reading, after.reading) };
  }

  /** All bytes that the network cards have moved, at the look with that number; undefined if that is not known. */
  movedBytes(number: number): InterfaceBytes | undefined {
    const interfaces = this.#kept.get(number)?.reading.interfaces;
    if (interfaces === undefined) return undefined;
    const total = { received: 0, sent: 0 };
    for (const { received, sent } of interfaces.values()) {
      total.received += received;
      total.sent += sent;
    }
    return total;
  }

  /** The counters now. Who asks while somebody else's look is under way gets that one. */
  #look(): Promise<Look> {
    this.#looking ??= this.#takeLook().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #takeLook(): Promise<Look> {
    const reading = await this.#readInTime();
    this.#last += 1;
    const look = { number: this.#last, reading };
    this.#kept.set(look.number, look);
    this.#kept.delete(look.number - MAX_KEPT);
    return look;
  }

  async #readInTime(): Promise<Reading> {
    const { clock } = this.#docker;
    const root = this.#disk ? undefined : await this.#dataRoot();
    if (root === undefined) return await this.#read(clock, undefined);
    const whole = this.#read(clock, root);
    this.#disk = true;
    const free = () => {
      this.#disk = false;
    };
    void whole.then(free, free);
    const { promise: late, resolve } = Promise.withResolvers<undefined>();
    const timer = clock.setTimeout(() => resolve(undefined), READ_TIMEOUT_MS);
    try {
      return (await Promise.race([whole, late])) ?? (await this.#read(clock, undefined));
    } finally {
      timer.cancel();
    }
  }

  /** Where Docker keeps its data on this machine, as far as is known. */
  async #dataRoot(): Promise<string | undefined> {
    const { clock } = this.#docker;
    if (this.#root !== undefined && clock.monotonic() < this.#root.until) return this.#root.path;
    if (this.#asking) return this.#root?.path;
    this.#asking = true;
    try {
      const path = await this.#askRoot();
      const keptMs = path === undefined ? ROOT_UNKNOWN_MS : ROOT_KNOWN_MS;
      this.#root = { path, until: clock.monotonic() + keptMs };
      return path;
    } finally {
      this.#asking = false;
    }
  }

  /** An Engine on another machine has its data there. */
  async #askRoot(): Promise<string | undefined> {
    if (!this.#docker.isLocal || !this.#docker.state.reachable) return undefined;
    try {
      const call = { method: 'GET', path: '/info', timeoutMs: ROOT_TIMEOUT_MS } as const;
      const { DockerRootDir: path } = asObject(await this.#docker.json(call));
      return typeof path === 'string' && path.startsWith('/') && !path.includes('\0') ? path : undefined;
    } catch {
      // Docker is away, or the host's policy does not let it be asked: a sample has enough without it.
      return undefined;
    }
  }
}

/** Each engine has its own, for all callers. */
const collectors = new WeakMap<DockerEngine, HostCollector>();

export function collectorOf(docker: DockerEngine): HostCollector {
  const collector = collectors.get(docker) ?? new HostCollector(docker);
  collectors.set(docker, collector);
  return collector;
}
