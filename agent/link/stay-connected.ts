/** Holds a session with the server: connects, beats, serves, and comes back after every end that is not final. */
import pRetry from 'p-retry';
import type { Logger } from 'pino';
import { isFairleadError } from '../../shared/errors.ts';
import { GOAWAY_DEADLINE_MS } from '../../shared/limits.ts';
import type { Hello } from '../../shared/messages/control.ts';
import { UnreachableError } from '../../shared/pinned-http.ts';
import { sleep } from '../../shared/sleep.ts';
import type { Credentials } from '../identity/credentials.ts';
import type { Identity } from '../identity/state-dir.ts';
import type { RunState } from '../identity/state-lock.ts';
import type { Upgrader } from '../upgrade/upgrader.ts';
import { type Connection, type ConnectOptions, connect } from './connect.ts';
import { startHeartbeats, type Vitals } from './heartbeats.ts';
import { EXIT, type ExitCode, endOfAttempt, endOfSession, finalExit, type LinkEnd } from './outcome.ts';
import { isUselessAfter, type Renewer } from './renew.ts';
import { RetryDelay } from './retry-delay.ts';

/** A difference between the clocks of both ends that is worth a warning: certificates depend on them. */
const CLOCK_SKEW_MS = 2 * 60_000;

/** Refusals of the working pair after which the host needs another certificate to come back. */
const LOST: ReadonlySet<string> = new Set(['CERT_UNKNOWN', 'CERT_EXPIRED']);

export interface StayConnectedOptions extends Pick<ConnectOptions, 'httpsAgent' | 'clock' | 'onStream' | 'controls'> {
  readonly log: Logger;
  readonly credentials: Pick<Credentials, 'current' | 'isUnproven' | 'discard'>;
  readonly renewer: Pick<Renewer, 'controls' | 'attach' | 'detach'>;
  /** Takes releases of the agent; absent: there are none. */
  readonly upgrader?: Pick<Upgrader, 'controls' | 'attach' | 'detach'>;
  /**
   * Gets a new certificate for a host whose own does not count any more; resolves when it is worth to connect.
   * @throws FairleadError with why there will be none
   */
  readonly recover: (why: string, stop: AbortSignal) => Promise<void>;
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
  /** The certificate that the attempt or the session was made by. */
  readonly certPem: string;
  /** How long the session stood, in ms; undefined: there was none. */
  readonly upMs: number | undefined;

  constructor(end: LinkEnd, certPem: string, upMs?: number) {
    super(end.reason);
    this.end = end;
    this.certPem = certPem;
    this.upMs = upMs;
  }
}

/** Runs until `stop` fires, which drains the session first, or until an end that waiting does not cure. */
export async function stayConnected(options: StayConnectedOptions, stop: AbortSignal): Promise<RunEnd> {
  const delay = new RetryDelay(options.random);
  /** Why the certificate does not count although it has not expired by this machine's clock. */
  let lost: string | undefined;
  const turn = async () => {
    const why = lost ?? expired(options);
    lost = undefined;
    const end = why === undefined ? undefined : await comeBack(options, why, stop);
    return end ?? (await oneSession(options, stop));
  };
  try {
    return await pRetry(turn, {
      // p-retry runs the loop; its own delays know neither full jitter nor what the server wishes, so they are nil.
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 0,
      signal: stop,
      shouldRetry: ({ error }) => error instanceof ComeBack,
      onFailedAttempt: async ({ error }) => {
        if (!(error instanceof ComeBack)) return;
        lost = await afterRefusal(options, error);
        await waitBeforeNext(options, error, delay, stop);
      },
    });
  } catch (error) {
    if (stop.aborted) return { exitCode: EXIT.stopped, reason: 'stopped' };
    throw error;
  }
}

async function waitBeforeNext(options: StayConnectedOptions, back: ComeBack, delay: RetryDelay, stop: AbortSignal) {
  const { code, reason } = back.end;
  const upMs = back.upMs ?? 0;
  const delayMs = delay.next(back.end, upMs);
  options.log.warn({ code, reason, delayMs, upMs: Math.round(upMs) }, 'not connected; trying again after a while');
  options.onState('waiting', reason);
  await sleep(delayMs, options.clock, stop);
}

/** Why this host needs another certificate, if that can be told without asking. */
function expired({ credentials, clock }: StayConnectedOptions): string | undefined {
  const expiry = credentials.current().certificate.validToDate;
  return clock.now() < expiry.getTime() ? undefined : `the certificate expired on ${expiry.toISOString()}`;
}

/** Gets another certificate. @returns how the run ends if there will be none */
async function comeBack(options: StayConnectedOptions, why: string, stop: AbortSignal): Promise<RunEnd | undefined> {
  options.onState('recovering', why);
  try {
    await options.recover(why, stop);
    return undefined;
  } catch (error) {
    if (stop.aborted) return { exitCode: EXIT.stopped, reason: 'stopped' };
    const { code, reason } = endOfAttempt(error);
    const exitCode = finalExit({ code, reason }) ?? EXIT.expired;
    return { exitCode, reason: `${why}, and there is no way back by itself: ${reason}; enroll this host again` };
  }
}

/** What follows from a refusal for the pairs of this host. @returns why it needs another certificate, if it does */
async function afterRefusal(
  { credentials, log }: StayConnectedOptions,
  { end, certPem, upMs }: ComeBack,
): Promise<string | undefined> {
  // Of another pair, which has come since, it says nothing.
  if (credentials.current().certPem !== certPem) return undefined;
  // A pair whose session stood is proven, also if it is not in its place yet.
  if (!credentials.isUnproven || upMs !== undefined) return LOST.has(end.code) ? end.reason : undefined;
  if (!isUselessAfter(end.code)) return undefined;
  log.warn({ code: end.code, reason: end.reason }, 'the new certificate is not accepted; going on with the one before');
  await credentials.discard();
  return undefined;
}

/** One attempt and, if it succeeds, one session to its end. @throws ComeBack */
async function oneSession(options: StayConnectedOptions, stop: AbortSignal): Promise<RunEnd> {
  const { clock, credentials, log, renewer, upgrader } = options;
  const identity = credentials.current();
  options.onState('connecting', identity.record.agentUrl);
  log.debug({ url: identity.record.agentUrl }, 'connecting');
  let connection: Connection;
  try {
    connection = await connect({
      ...options,
      identity,
      controls: new Map([...(options.controls ?? []), ...renewer.controls, ...(upgrader?.controls ?? [])]),
      hello: options.hello(),
      signal: stop,
    });
  } catch (error) {
    if (stop.aborted) return { exitCode: EXIT.stopped, reason: 'stopped' };
    if (error instanceof UnreachableError && error.failure === 'tls') await options.onUnverified?.();
    const end = endOfAttempt(error);
    // One that was never used may have been revoked for that alone.
    if (credentials.isUnproven && isUselessAfter(end.code)) throw new ComeBack(end, identity.certPem);
    return finish(end, identity.certPem);
  }
  const startedAt = clock.monotonic();
  const end = await hold(connection, identity, options, stop);
  if (stop.aborted) return { exitCode: EXIT.stopped, reason: 'stopped' };
  return finish(end, identity.certPem, clock.monotonic() - startedAt);
}

/** Serves a welcomed session until it ends. */
async function hold(
  connection: Connection,
  identity: Identity,
  options: StayConnectedOptions,
  stop: AbortSignal,
): Promise<LinkEnd> {
  const { session, welcome } = connection;
  const { clock, log, vitals, renewer, upgrader } = options;
  const { hostId, hostName, serverVersion } = welcome;
  log.info({ hostId, host: hostName, serverVersion, url: identity.record.agentUrl }, 'connected');
  const skewMs = welcome.serverTime - clock.now();
  if (Math.abs(skewMs) > CLOCK_SKEW_MS) log.warn({ skewMs }, "this machine's clock and the server's differ");
  options.onState('online', `${hostName} at ${identity.record.agentUrl}`);
  session.startLiveness(welcome.silenceMs);
  startHeartbeats(session, welcome.heartbeatMs, vitals, clock);
  const drain = () => {
    options.onState('stopping', 'streams drain');
    const reason = isFairleadError(stop.reason) ? stop.reason.message : 'the agent is stopping';
    void session.goaway({ code: 'SHUTDOWN', reason, deadlineMs: GOAWAY_DEADLINE_MS });
  };
  stop.addEventListener('abort', drain, { once: true });
  if (stop.aborted) drain();
  try {
    await renewer.attach(connection, identity.certPem);
    await upgrader?.attach(connection);
    return endOfSession(await session.closed);
  } finally {
    await upgrader?.detach();
    await renewer.detach();
    stop.removeEventListener('abort', drain);
  }
}

function finish(end: LinkEnd, certPem: string, upMs?: number): RunEnd {
  const exitCode = finalExit(end);
  if (exitCode === undefined) throw new ComeBack(end, certPem, upMs);
  return { exitCode, reason: `${end.code}: ${end.reason}${adviceFor(exitCode)}` };
}

/** What the host's owner can do about an end that waiting does not cure. */
function adviceFor(exitCode: ExitCode): string {
  if (exitCode !== EXIT.revoked) return '';
  return '; its key and certificate stay here and open nothing: to join again, run fairlead-agent unenroll --local and enroll with a new token';
}
