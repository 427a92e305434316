/** Holds a session with the server: connects, beats, serves, and comes back after every end that is not final. */
import pRetry from 'p-retry';
import type { Logger } from 'pino';
import { GOAWAY_DEADLINE_MS } from '../../shared/limits.ts';
import type { Hello } from '../../shared/messages/control.ts';
import { UnreachableError } from '../../shared/pinned-http.ts';
import { sleep } from '../../shared/sleep.ts';
import type { RunState } from '../identity/state-lock.ts';
import { type Connection, type ConnectOptions, connect } from './connect.ts';
import { startHeartbeats, type Vitals } from './heartbeats.ts';
import { EXIT, type ExitCode, endOfAttempt, endOfSession, finalExit, type LinkEnd } from './outcome.ts';
import { RetryDelay } from './retry-delay.ts';

/** A difference between the clocks of both ends that is worth a warning: certificates depend on them. */
const CLOCK_SKEW_MS = 2 * 60_000;

export interface StayConnectedOptions
  extends Pick<ConnectOptions, 'identity' | 'httpsAgent' | 'clock' | 'onStream' | 'controls'> {
  readonly log: Logger;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Asked again for every session: Docker's state changes. */
  readonly hello: () => Hello;
  readonly vitals: Vitals;
  /** Told at every turn, for `status`. */
  readonly onState: (state: RunState, detail?: string) => void;
  /** The server could not be verified: its CA may have changed. Never rejects. */
  readonly onUnverified?: () => Promise<void>;
}

export interface RunEnd {
  readonly exitCode: ExitCode;
  readonly reason: string;
}

/** An end after which the agent comes back; carries what the delay depends on. */
class ComeBack extends Error {
  readonly end: LinkEnd;
  readonly upMs: number;

  constructor(end: LinkEnd, upMs: number) {
    super(end.reason);
    this.end = end;
    this.upMs = upMs;
  }
}

/** Runs until `stop` fires, which drains the session first, or until an end that waiting does not cure. */
export async function stayConnected(options: StayConnectedOptions, stop: AbortSignal): Promise<RunEnd> {
  const delay = new RetryDelay(options.random);
  try {
    return await pRetry(() => oneSession(options, stop), {
      // p-retry runs the loop; its own delays know neither full jitter nor what the server wishes, so they are nil.
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 0,
      signal: stop,
      shouldRetry: ({ error }) => error instanceof ComeBack,
      onFailedAttempt: async ({ error }) => {
        if (error instanceof ComeBack) await waitBeforeNext(options, error, delay, stop);
      },
    });
  } catch (error) {
    if (stop.aborted) return { exitCode: EXIT.stopped, reason: 'stopped' };
    throw error;
  }
}

async function waitBeforeNext(options: StayConnectedOptions, back: ComeBack, delay: RetryDelay, stop: AbortSignal) {
  const { code, reason } = back.end;
  const delayMs = delay.next(back.end, back.upMs);
  options.log.warn({ code, reason, delayMs, upMs: Math.round(back.upMs) }, 'not connected; trying again after a while');
  options.onState('waiting', reason);
  await sleep(delayMs, options.clock, stop);
}

/** One attempt and, if it succeeds, one session to its end. @throws ComeBack */
async function oneSession(options: StayConnectedOptions, stop: AbortSignal): Promise<RunEnd> {
  const { clock, identity, log } = options;
  const expiry = identity.certificate.validToDate;
  if (clock.now() >= expiry.getTime()) {
    const reason = `the certificate expired on ${expiry.toISOString()}: enroll this host again`;
    return { exitCode: EXIT.expired, reason };
  }
  options.onState('connecting', identity.record.agentUrl);
  log.debug({ url: identity.record.agentUrl }, 'connecting');
  let connection: Connection;
  try {
    connection = await connect({ ...options, hello: options.hello(), signal: stop });
  } catch (error) {
    if (stop.aborted) return { exitCode: EXIT.stopped, reason: 'stopped' };
    if (error instanceof UnreachableError && error.failure === 'tls') await options.onUnverified?.();
    return finish(endOfAttempt(error), 0);
  }
  const startedAt = clock.monotonic();
  const end = await hold(connection, options, stop);
  if (stop.aborted) return { exitCode: EXIT.stopped, reason: 'stopped' };
  return finish(end, clock.monotonic() - startedAt);
}

/** Serves a welcomed session until it ends. */
async function hold(connection: Connection, options: StayConnectedOptions, stop: AbortSignal): Promise<LinkEnd> {
  const { session, welcome } = connection;
  const { clock, log, vitals } = options;
  const { hostId, hostName, serverVersion } = welcome;
  log.info({ hostId, host: hostName, serverVersion, url: options.identity.record.agentUrl }, 'connected');
  const skewMs = welcome.serverTime - clock.now();
  if (Math.abs(skewMs) > CLOCK_SKEW_MS) log.warn({ skewMs }, "this machine's clock and the server's differ");
  options.onState('online', `${hostName} at ${options.identity.record.agentUrl}`);
  session.startLiveness(welcome.silenceMs);
  startHeartbeats(session, welcome.heartbeatMs, vitals, clock);
  const drain = () => {
    options.onState('stopping', 'streams drain');
    void session.goaway({ code: 'SHUTDOWN', reason: 'the agent is stopping', deadlineMs: GOAWAY_DEADLINE_MS });
  };
  stop.addEventListener('abort', drain, { once: true });
  if (stop.aborted) drain();
  try {
    return endOfSession(await session.closed);
  } finally {
    stop.removeEventListener('abort', drain);
  }
}

function finish(end: LinkEnd, upMs: number): RunEnd {
  const exitCode = finalExit(end);
  if (exitCode === undefined) throw new ComeBack(end, upMs);
  return { exitCode, reason: `${end.code}: ${end.reason}` };
}
