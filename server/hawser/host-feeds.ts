/** host.events and host.metrics on hosts of Hawser: Docker's own events by a stream of ours, and what the agent measures. */
import { EventFeed } from '../../shared/docker/event-feed.ts';
import type { EventSource, EventWarnings } from '../../shared/docker/follow-events.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { HawserMetrics } from '../../shared/hawser/messages.ts';
import type { DockerState } from '../../shared/messages/control.ts';
import type { hostEvents } from '../../shared/messages/host-events.ts';
import type { HostSample, hostMetrics } from '../../shared/messages/metrics.ts';
import { openStream } from './docker-reader.ts';
import { hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import type { ServeKind } from './kind.ts';
import type { HawserTransport } from './transport.ts';

/** Agents measure every 30 s, the first time so long after they have connected. */
const NEXT_SAMPLE_MS = 45_000;

export const serveHostEvents: ServeKind<typeof hostEvents> = async (context, params, { signal }) => {
  const reply = await context.events().take(params, signal ?? new AbortController().signal);
  const bytes = HeldBytes.none();
  bytes.resume();
  return hawserStream<typeof hostEvents>({ reply, bytes });
};

export interface DockerStates {
  readonly state: DockerState;
  onState(listener: (state: DockerState) => void): () => void;
}

/**
 * The events of a host for as long as its transport lasts. The agent's own are not used: with many Engines none come, they have no
 * memory, and they say less.
 */
export function eventFeed(transport: HawserTransport, states: DockerStates, log: EventWarnings): EventFeed {
  const docker: EventSource = {
    clock: transport.clock,
    get state() {
      return states.state;
    },
    onState: (listener) => states.onState(listener),
    stream: async (call) => openStream(transport, call),
    explain: (error) => error,
  };
  const feed = new EventFeed({ docker, log });
  void transport.closed.then(() => feed.end());
  return feed;
}

/** What an agent has measured, as samples; kept is the last one. */
export class Samples {
  #last: HostSample | undefined;
  #before: HawserMetrics | undefined;
  #count = 0;
  readonly #waiting = new Set<() => void>();

  /** The last one, and how many there were. */
  get last(): { readonly sample: HostSample | undefined; readonly count: number } {
    return { sample: this.#last, count: this.#count };
  }

  add(message: HawserMetrics): void {
    this.#last = sampleOf(message, this.#before);
    this.#before = message;
    this.#count++;
    for (const wake of this.#waiting) wake();
  }

  /** Resolves with the next one. @throws what `ending` rejects with */
  async next(ending: Promise<never>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    try {
      await Promise.race([promise, ending]);
    } finally {
      this.#waiting.delete(resolve);
    }
  }
}

/** The agent measures at its own pace: whoever has its last sample waits for the next one. */
export const serveHostMetrics: ServeKind<typeof hostMetrics> = async (context, { since }, { signal }) => {
  const { transport, samples } = context;
  if (samples.last.sample === undefined || samples.last.count === since) {
    const { promise: ending, reject } = Promise.withResolvers<never>();
    ending.catch(() => undefined);
    const late = new FairleadError('TIMEOUT', `the agent of Hawser measured nothing within ${NEXT_SAMPLE_MS / 1000} s`);
    const timer = transport.clock.setTimeout(() => reject(late), NEXT_SAMPLE_MS);
    void transport.closed.then((cause) => reject(new FairleadError('STREAM_INTERRUPTED', cause.message)));
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await samples.next(ending);
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
    }
  }
  const { sample, count } = samples.last;
  if (sample === undefined) throw new FairleadError('INTERNAL', 'a sample came and is not there');
  const bytes = HeldBytes.none();
  bytes.resume();
  return hawserStream<typeof hostMetrics>({ reply: { reading: count, sample }, bytes });
};

/** Rates need two samples; the agent's clock counts whole seconds. */
function sampleOf(message: HawserMetrics, before: HawserMetrics | undefined): HostSample {
  const { timestamp, metrics } = message;
  const { cpuUsage, memoryTotal, memoryUsed, memoryFree, diskTotal, diskUsed, diskFree, uptime = 0 } = metrics;
  const whole = (bytes: number) => Math.floor(bytes);
  const network = ratesOf(message, before);
  return {
    at: whole(timestamp * 1000),
    uptimeSeconds: whole(uptime),
    cpu: { percent: Math.min(100, cpuUsage), cores: [] },
    memory: {
      totalBytes: whole(memoryTotal),
      usedBytes: whole(memoryUsed),
      availableBytes: whole(memoryFree ?? Math.max(0, memoryTotal - memoryUsed)),
    },
    ...(diskTotal === undefined || diskUsed === undefined || diskFree === undefined
      ? {}
      : {
          disk: { totalBytes: whole(diskTotal), usedBytes: whole(diskUsed), availableBytes: whole(diskFree) },
        }),
    ...(network === undefined ? {} : { network }),
  };
}

function ratesOf(now: HawserMetrics, before: HawserMetrics | undefined): HostSample['network'] {
  const seconds = now.timestamp - (before?.timestamp ?? now.timestamp);
  const rate = (field: 'networkRxBytes' | 'networkTxBytes') => {
    const bytes = (now.metrics[field] ?? Number.NaN) - (before?.metrics[field] ?? Number.NaN);
    return bytes / seconds;
  };
  const [receivedBytesPerSecond, sentBytesPerSecond] = [rate('networkRxBytes'), rate('networkTxBytes')];
  // The first one, a clock that was set, or counters that began anew.
  if (!(seconds > 0 && receivedBytesPerSecond >= 0 && sentBytesPerSecond >= 0)) return undefined;
  return { receivedBytesPerSecond, sentBytesPerSecond };
}
