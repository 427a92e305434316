/**
 * Renews this host's certificate while its session goes on: a new key, a request over the session, proof by use beside it.
 * Each step can be repeated, so that whatever fails, or whoever is killed, the next attempt goes on from there.
 */
import type { Agent } from 'node:https';
import type { Logger } from 'pino';
import { Backoff } from '../../shared/backoff.ts';
import type { Clock, Timer } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, fromWireError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { type CertIssued, certIssued, certRenew } from '../../shared/messages/certificate.ts';
import { type HeartbeatAck, heartbeatAck } from '../../shared/messages/control.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { Credentials } from '../identity/credentials.ts';
import { activate } from './activate.ts';
import type { Connection, ControlHandler } from './connect.ts';
import { renewalTime, renewalWindow } from './renewal-time.ts';

const ANSWER_MS = 30_000;
/** The date is looked at this often, since clocks are set and machines sleep. */
const LOOK_MS = 60_000;
/** Hosts that the server wishes to renew come within this time. */
const WISH_SPREAD_MS = 15_000;
/** A wish this soon after a renewal over the same session was sent before it: the next heartbeat brings it again. */
const WISH_PAUSE_MS = 10_000;
const RETRY_MIN_MS = 5_000;
const RETRY_MAX_MS = 60 * 60_000;

/** Refusals that a new pair does not get over: the working one goes on. */
const USELESS: ReadonlySet<ErrorCode> = new Set([
  'CSR_INVALID',
  'PROTOCOL_ERROR',
  'CERT_UNKNOWN',
  'CERT_REVOKED',
  'CERT_EXPIRED',
]);

/** Whether a new pair that was refused with `code` is to be given up for the working one. */
export function isUselessAfter(code: string): boolean {
  return USELESS.has(code as ErrorCode);
}

export interface RenewerOptions {
  readonly credentials: Credentials;
  readonly httpsAgent: Agent;
  readonly clock: Clock;
  readonly log: Logger;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** How long before a certificate expires it is renewed, in ms. */
  readonly renewBeforeMs: number;
  /** Told when the certificate is renewed next, ms since 1970, each time that this is known anew. */
  readonly onDue?: (at: number) => void;
}

/** What belongs to one session. */
interface Attached {
  readonly session: Session;
  readonly abort: AbortController;
  timer: Timer | undefined;
  /** The attempt under way. */
  attempt: Promise<void> | undefined;
}

export class Renewer {
  readonly #options: RenewerOptions;
  /** What the server says that concerns renewal. */
  readonly controls: ReadonlyMap<number, ControlHandler>;
  #attached: Attached | undefined;
  #asked: { id: number; answer: PromiseWithResolvers<CertIssued> } | undefined;
  #nextId = 0;
  /** ms since 1970. */
  #dueAt = 0;
  #retries: Backoff;
  #renewedAt = Number.NEGATIVE_INFINITY;
  #isWished = false;
  /** How many want that the pair stays as it is. */
  #holds = 0;

  constructor(options: RenewerOptions) {
    this.#options = options;
    this.#retries = this.#newRetries();
    this.#setDue();
    this.controls = new Map<number, ControlHandler>([
      [certIssued.code, (value) => this.#take(value as CertIssued)],
      [heartbeatAck.code, (value) => this.#wish((value as HeartbeatAck).renew)],
    ]);
  }

  /** A session stands, opened by the pair whose certificate is `certPem`: if that is the new one, it is proven. */
  async attach({ session, welcome }: Connection, certPem: string): Promise<void> {
    const { credentials } = this.#options;
    if (credentials.isUnproven && credentials.current().certPem === certPem) {
      // A disk that is full costs no session: the next attempt ends what this one began.
      await this.#promote().catch((err: unknown) =>
        this.#options.log.error({ err }, 'the new pair is not in place yet'),
      );
    }
    this.#attached = { session, abort: new AbortController(), timer: undefined, attempt: undefined };
    // Whatever is wished over this session is of the certificate that has opened it, however new that is.
    this.#renewedAt = Number.NEGATIVE_INFINITY;
    this.#wish(welcome.renew);
    this.#look();
  }

  /** The session is over. Resolves once nothing works for it any more. Idempotent. */
  async detach(): Promise<void> {
    const attached = this.#attached;
    this.#attached = undefined;
    attached?.timer?.cancel();
    attached?.abort.abort(new FairleadError('CANCELLED', 'the session ended'));
    await attached?.attempt;
  }

  /**
   * Keeps the pair as it is, until the returned function is called: another process connects by it. Resolves once no
   * attempt is under way. To be called off soon, as the certificate's time goes on.
   */
  async hold(): Promise<() => void> {
    this.#holds += 1;
    await this.#attached?.attempt;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#holds -= 1;
      this.#look();
    };
  }

  #wish(renew: boolean | undefined): void {
    const { clock, random } = this.#options;
    if (renew !== true || this.#isWished || clock.monotonic() - this.#renewedAt < WISH_PAUSE_MS) return;
    this.#isWished = true;
    this.#dueAt = Math.min(this.#dueAt, clock.now() + random() * WISH_SPREAD_MS);
    this.#look();
  }

  /** Renews if it is time to, or looks again later. */
  #look(): void {
    const attached = this.#attached;
    if (attached === undefined || attached.attempt !== undefined || this.#holds > 0) return;
    attached.timer?.cancel();
    const { clock } = this.#options;
    const waitMs = this.#dueAt - clock.now();
    if (waitMs > 0) {
      attached.timer = clock.setTimeout(() => this.#look(), Math.min(waitMs, LOOK_MS));
      return;
    }
    attached.attempt = this.#attempt(attached).finally(() => {
      attached.attempt = undefined;
      this.#look();
    });
  }

  /** Never rejects: what fails is logged, and tried again. */
  async #attempt(attached: Attached): Promise<void> {
    const { credentials, clock, log } = this.#options;
    try {
      await this.#renew(attached);
      log.info({ notAfter: credentials.current().certificate.validToDate }, 'the certificate was renewed');
    } catch (error) {
      if (attached.abort.signal.aborted) return;
      const { code } = toWireError(error);
      if (isUselessAfter(code)) await this.#discard();
      const delayMs = this.#retries.nextAtLeastCeiling();
      this.#dueAt = clock.now() + delayMs;
      const { validToDate: notAfter } = credentials.current().certificate;
      const level = isFairleadError(error) ? 'warn' : 'error';
      log[level](
        { err: error, code, delayMs, notAfter },
        'the certificate was not renewed; trying again after a while',
      );
    }
  }

  async #renew({ session, abort }: Attached): Promise<void> {
    const { credentials, clock, httpsAgent } = this.#options;
    // Also with a certificate at hand: the answer is the same, and tells the server which session is to go on under it.
    const certPem = await this.#ask(session, await credentials.request(clock.now()), abort.signal);
    await credentials.accept(certPem, clock.now());
    await activate(credentials.current(), { httpsAgent, signal: abort.signal });
    await this.#promote();
  }

  async #ask(session: Session, csr: string, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const id = this.#nextId++;
    const answer = Promise.withResolvers<CertIssued>();
    this.#asked = { id, answer };
    const late = this.#options.clock.setTimeout(() => {
      answer.reject(new FairleadError('TIMEOUT', `the server did not answer cert.renew within ${ANSWER_MS} ms`));
    }, ANSWER_MS);
    const giveUp = () => answer.reject(signal.reason);
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      session.sendControl(certRenew, { id, csr });
      const { certificate, error } = await answer.promise;
      if (certificate !== undefined) return certificate;
      throw fromWireError(
        error ?? { code: 'PROTOCOL_ERROR', message: 'cert.issued holds neither certificate nor error' },
      );
    } finally {
      late.cancel();
      signal.removeEventListener('abort', giveUp);
      this.#asked = undefined;
    }
  }

  #take(issued: CertIssued): void {
    if (this.#asked?.id === issued.id) this.#asked.answer.resolve(issued);
  }

  async #promote(): Promise<void> {
    const { credentials, clock } = this.#options;
    await credentials.promote();
    this.#renewedAt = clock.monotonic();
    this.#isWished = false;
    this.#retries = this.#newRetries();
    this.#setDue();
  }

  async #discard(): Promise<void> {
    try {
      await this.#options.credentials.discard();
    } catch (error) {
      this.#options.log.error({ err: error }, 'what is left of a renewal cannot be removed');
    }
  }

  #setDue(): void {
    const { credentials, renewBeforeMs, random, onDue } = this.#options;
    this.#dueAt = renewalTime(credentials.current().certificate, renewBeforeMs, random());
    onDue?.(this.#dueAt);
  }

  /** Some attempts in what is left of a short life, and not one a second in a long one. */
  #newRetries(): Backoff {
    const { credentials, renewBeforeMs, random } = this.#options;
    const maxMs = Math.min(RETRY_MAX_MS, renewalWindow(credentials.current().certificate, renewBeforeMs) / 8);
    return new Backoff({ minMs: Math.min(RETRY_MIN_MS, maxMs), maxMs, random });
  }
}
