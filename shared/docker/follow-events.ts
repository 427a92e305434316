/** Docker's events one after the other, for as long as anybody wants them: over restarts of Docker, none of them twice. */
import type { Readable } from 'node:stream';
import type { Clock } from '../clock.ts';
import { isFairleadError } from '../errors.ts';
import type { DockerState } from '../messages/control.ts';
import type { HostEvent } from '../messages/host-events.ts';
import { sleep } from '../sleep.ts';
import type { DockerCall } from './call.ts';
import { microsOf, Repeats } from './events.ts';
import { toHostEvent } from './host-event.ts';
import { jsonLines } from './json.ts';

/** A line has all labels of its object. */
const MAX_LINE_BYTES = 4 * 1024 * 1024;
/** How far behind the last event Docker is asked again: events of one moment may be in its memory in another order. */
const OVERLAP_MICROS = 1_000_000;
/** How soon Docker is asked again whose answer has ended. */
const RETRY_MS = 500;

/** A Docker whose events can be followed, wherever it is. */
export interface EventSource {
  readonly clock: Clock;
  readonly state: DockerState;
  /** Calls `listener` when the state has changed. @returns a function that stops it */
  onState(listener: (state: DockerState) => void): () => void;
  stream(call: DockerCall): Promise<Readable>;
  /** What a failure of the stream means. */
  explain(error: unknown): unknown;
}

/** Takes what somebody should know. */
export interface EventWarnings {
  warn(detail: object, text: string): void;
}

/** Where one stands in Docker's events. */
interface Position {
  /** When the last event happened, or since when they are wanted. */
  micros: number;
  /** Whether an event of that time is known: then Docker's memory should have it. */
  isKnown: boolean;
}

export interface FollowOptions {
  readonly docker: EventSource;
  readonly log: EventWarnings;
  /** When the last known event happened, in µs since 1970; absent: only what comes is wanted. */
  readonly sinceMicros?: number | undefined;
  readonly signal: AbortSignal;
}

/**
 * @returns after the engine was closed
 * @throws FairleadError DENIED_BY_HOST, and the signal's reason
 */
export async function* followEvents({ docker, log, sinceMicros, signal }: FollowOptions): AsyncGenerator<HostEvent> {
  const repeats = new Repeats();
  const nowMicros = docker.clock.now() * 1000;
  const position: Position = {
    // A clock that was set back since: what comes now is not to be waited for until then.
    micros: Math.min(sinceMicros ?? nowMicros, nowMicros),
    isKnown: sinceMicros !== undefined,
  };
  for (;;) {
    await untilReachable(docker, signal);
    try {
      yield* connectionOf(docker, position, repeats, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (isFairleadError(error, 'SHUTDOWN')) return;
      if (isFairleadError(error, 'DENIED_BY_HOST')) throw error;
      const failure = docker.explain(error);
      if (!isFairleadError(failure)) throw failure;
      if (failure.code === 'DOCKER_ERROR') {
        // Asked since the same time, Docker would send it again.
        log.warn({ reason: failure.message }, "Docker's events could not be read; going on with those that come");
        yield ownEvent('events', 'gap', { reason: 'unreadable' }, docker.clock.now());
        Object.assign(position, { micros: docker.clock.now() * 1000, isKnown: false });
      }
    }
    await sleep(RETRY_MS, docker.clock, signal);
  }
}

/** An event of the agent's own. @param now ms since 1970 */
export function ownEvent(
  type: 'docker' | 'events',
  action: string,
  attributes: HostEvent['attributes'],
  now: number,
): HostEvent {
  return { type, action, id: '', attributes, timeNano: now * 1e6 };
}

/** What Docker sends over one connection, until that ends. */
async function* connectionOf(
  docker: EventSource,
  position: Position,
  repeats: Repeats,
  signal: AbortSignal,
): AsyncGenerator<HostEvent> {
  const since = Math.max(0, position.micros - (position.isKnown ? OVERLAP_MICROS : 0));
  const query = { since: (since / 1e6).toFixed(6) };
  const body = await docker.stream({ method: 'GET', path: '/events', query, signal });
  try {
    let reachesBack = !position.isKnown;
    for await (const sent of jsonLines(body, MAX_LINE_BYTES)) {
      const event = toHostEvent(sent);
      if (event === undefined) continue;
      const timeMicros = microsOf(event.timeNano);
      // The last one that is known, at the latest, comes first, unless Docker has forgotten it, and maybe others behind it.
      if (!reachesBack && timeMicros > position.micros) {
        yield ownEvent('events', 'gap', { reason: 'memory' }, docker.clock.now());
      }
      reachesBack = true;
      const { type, action, id } = event;
      if (repeats.note({ type, action, id, timeMicros })) continue;
      Object.assign(position, { micros: timeMicros, isKnown: true });
      yield event;
    }
  } finally {
    body.destroy();
  }
}

async function untilReachable(docker: EventSource, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (docker.state.reachable) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = () => reject(signal.reason);
  const stop = docker.onState(({ reachable }) => {
    if (reachable) resolve();
  });
  signal.addEventListener('abort', abort);
  try {
    await promise;
  } finally {
    stop();
    signal.removeEventListener('abort', abort);
  }
}
