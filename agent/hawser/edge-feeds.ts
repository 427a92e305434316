/** What a Dockhand server is told by itself in Edge mode: how busy the host is, and what happens to its containers. */
import { microsOf } from '../../shared/docker/events.ts';
import { followEvents } from '../../shared/docker/follow-events.ts';
import { isFairleadError } from '../../shared/errors.ts';
import type { HawserEvent, HawserMetrics } from '../../shared/hawser/messages.ts';
import { type HostEvent, hostEvents } from '../../shared/messages/host-events.ts';
import type { HostSample } from '../../shared/messages/metrics.ts';
import { hostMetrics } from '../../shared/messages/metrics.ts';
import { sleep } from '../../shared/sleep.ts';
import { collectorOf } from '../metrics/host-collector.ts';
import type { InterfaceBytes } from '../metrics/proc.ts';
import { permits } from '../policy/policy.ts';
import type { HawserContext } from './context.ts';
import type { EdgeSession } from './edge-session.ts';
import { METRICS_MS } from './limits.ts';

/** What servers are told of; all else is of no use to them. */
const ACTIONS: ReadonlySet<string> = new Set(
  'create start stop die kill restart pause unpause destroy rename update oom health_status'.split(' '),
);
/** Containers that come and go as a server looks at images and volumes. */
const SCANNER = /\b(?:anchore\/grype|aquasec\/trivy)\b/;
const BROWSER = /^dockhand-browse-/;

export class EdgeFeeds {
  readonly #context: HawserContext;
  /** When the last event that was told happened: over sessions none is lost, as long as Docker remembers it. */
  #lastNano: number | undefined;

  constructor(context: HawserContext) {
    this.#context = context;
  }

  /** Feeds a session to its end. Returns at once. */
  feed(session: EdgeSession): void {
    const { policy } = this.#context;
    if (permits(policy, hostMetrics)) void this.#guard('metrics', session, () => this.#metrics(session));
    if (permits(policy, hostEvents)) void this.#guard('events', session, () => this.#events(session));
  }

  /** Never rejects. */
  async #guard(what: string, { ending }: EdgeSession, feed: () => Promise<void>): Promise<void> {
    try {
      await feed();
    } catch (error) {
      if (ending.aborted) return;
      const { log } = this.#context;
      if (isFairleadError(error, 'DENIED_BY_HOST')) log.info({ what }, `not told: ${error.message}`);
      else log.error({ err: error, what }, 'a Dockhand server is no longer told what it should know');
    }
  }

  async #metrics(session: EdgeSession): Promise<void> {
    const { docker, clock } = this.#context;
    const collector = collectorOf(docker);
    let last: number | undefined;
    for (;;) {
      await sleep(METRICS_MS, clock, session.ending);
      const { reading, sample } = await collector.sample(last, session.ending);
      last = reading;
      session.notice(metricsOf(sample, collector.movedBytes(reading)));
    }
  }

  async #events(session: EdgeSession): Promise<void> {
    const { docker, log } = this.#context;
    const lastNano = this.#lastNano;
    const sinceMicros = lastNano === undefined ? undefined : microsOf(lastNano);
    for await (const event of followEvents({ docker, log, sinceMicros, signal: session.ending })) {
      if (event.timeNano <= (lastNano ?? 0)) continue;
      const message = containerEventOf(event);
      if (message === undefined) continue;
      await session.pass(message);
      this.#lastNano = event.timeNano;
    }
  }
}

/** A sample as servers take it. What could not be found out is 0, but for the disk. */
export function metricsOf(sample: HostSample, moved: InterfaceBytes | undefined): HawserMetrics {
  const { memory, disk } = sample;
  return {
    type: 'metrics',
    timestamp: Math.floor(sample.at / 1000),
    metrics: {
      cpuUsage: sample.cpu?.percent ?? 0,
      cpuCores: sample.cpu?.cores.length ?? 0,
      memoryTotal: memory?.totalBytes ?? 0,
      memoryUsed: memory?.usedBytes ?? 0,
      memoryFree: memory?.availableBytes ?? 0,
      ...(disk === undefined
        ? {}
        : { diskTotal: disk.totalBytes, diskUsed: disk.usedBytes, diskFree: disk.availableBytes }),
      networkRxBytes: moved?.received ?? 0,
      networkTxBytes: moved?.sent ?? 0,
      uptime: sample.uptimeSeconds,
    },
  };
}

/** An event as servers take it; undefined for what they are not told. */
export function containerEventOf({ type, action, id, attributes, timeNano }: HostEvent): HawserEvent | undefined {
  // Behind a colon is what an exec runs, or how a check of health went.
  const [name = ''] = action.split(':', 1);
  const { name: containerName = '', image = '' } = attributes;
  if (type !== 'container' || !ACTIONS.has(name) || SCANNER.test(image) || BROWSER.test(containerName))
    return undefined;
  const event = { containerId: id, containerName, image, action: name, actorAttributes: attributes };
  return { type: 'container_event', event: { ...event, timestamp: timestampOf(timeNano) } };
}

/** RFC 3339 with the digits that a double has of nanoseconds. */
function timestampOf(nanos: number): string {
  const micros = microsOf(nanos);
  const seconds = Math.floor(micros / 1e6);
  const fraction = String(micros % 1e6).padStart(6, '0');
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}
