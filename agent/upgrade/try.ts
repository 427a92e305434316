/** The other side of a trial: a new executable shows that it can connect as this host and reach Docker, and serves nothing. */
import { randomUUID } from 'node:crypto';
import type { Agent } from 'node:https';
import { loadavg } from 'node:os';
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { type Hello, heartbeatAck } from '../../shared/messages/control.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { DockerEngine } from '../docker/engine.ts';
import type { Identity } from '../identity/state-dir.ts';
import { connect } from '../link/connect.ts';
import { startHeartbeats } from '../link/heartbeats.ts';
import type { TrialAnswer } from './trial.ts';

/** In all: whoever has started this waits a little longer. */
const LIMIT_MS = 45_000;
const FAREWELL_MS = 1_000;
const DOCKER_MS = 10_000;

export interface TryOptions {
  readonly identity: Identity;
  readonly docker: DockerEngine;
  readonly hello: (instanceId: string) => Hello;
  readonly version: string;
  readonly httpsAgent: Agent;
  readonly clock: Clock;
  readonly log: Logger;
}

/** @throws UnreachableError, or FairleadError with what the server or the time that it took speaks against it */
export async function showThatItWorks(options: TryOptions, stop: AbortSignal): Promise<TrialAnswer> {
  const { docker, version, clock } = options;
  const late = new AbortController();
  const timer = clock.setTimeout(() => {
    late.abort(new FairleadError('TIMEOUT', `nothing was acknowledged within ${LIMIT_MS / 1000} s`));
  }, LIMIT_MS);
  const signal = AbortSignal.any([stop, late.signal]);
  try {
    await Promise.race([docker.start(), waited(DOCKER_MS, clock)]);
    await beOnce(options, signal);
    return { try: 1, version, docker: docker.state.reachable };
  } finally {
    timer.cancel();
  }
}

async function waited(ms: number, clock: Clock): Promise<void> {
  await new Promise<void>((resolve) => clock.setTimeout(resolve, ms));
}

/** Connects, has one heartbeat acknowledged, and leaves. */
async function beOnce({ identity, docker, hello, httpsAgent, clock }: TryOptions, signal: AbortSignal): Promise<void> {
  const acknowledged = Promise.withResolvers<void>();
  const { session, welcome } = await connect({
    identity,
    httpsAgent,
    clock,
    signal,
    hello: { ...hello(randomUUID()), trial: true },
    onStream: (stream) => stream.reset(new FairleadError('UNSUPPORTED', 'this session is a trial and serves nothing')),
    controls: new Map([[heartbeatAck.code, () => acknowledged.resolve()]]),
  });
  const abort = () => acknowledged.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    startHeartbeats(session, welcome.heartbeatMs, vitalsOf(docker), clock);
    await Promise.race([acknowledged.promise, ended(session)]);
    await session.goaway({ code: 'SHUTDOWN', reason: 'the trial is over', deadlineMs: FAREWELL_MS });
  } finally {
    signal.removeEventListener('abort', abort);
    session.destroy(new FairleadError('SHUTDOWN', 'the trial is over'));
  }
}

async function ended(session: Session): Promise<never> {
  const { code, reason } = await session.closed;
  throw new FairleadError(code, `the session of the trial ended: ${reason}`);
}

function vitalsOf(docker: DockerEngine) {
  return {
    load: loadavg,
    streams: () => 0,
    docker: () => docker.state,
    onDockerState: (listener: () => void) => docker.onState(listener),
  };
}
