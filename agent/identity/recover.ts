/**
 * The way back for a host whose certificate does not count any more: it proves its last key to the server's API, and waits
 * until an administrator, or the server's policy, gives it a certificate for a new one.
 */
import { createPrivateKey } from 'node:crypto';
import type { Agent } from 'node:https';
import type { Logger } from 'pino';
import Type from 'typebox';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { proveRecovery } from '../../certs/recovery-proof.ts';
import { Backoff } from '../../shared/backoff.ts';
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, type FairleadError, isFairleadError } from '../../shared/errors.ts';
import { requestPinned, UnreachableError } from '../../shared/pinned-http.ts';
import { sleep } from '../../shared/sleep.ts';
import { fits } from '../../shared/validate.ts';
import type { Credentials } from './credentials.ts';
import { refusalOf } from './refusal.ts';

/** Between two questions: soon at first, since policy or somebody who watches may decide at once. */
const ASK_MIN_MS = 1_000;
const ASK_MAX_MS = 60_000;
/** A host in quarantine has to wait for a person. */
const QUARANTINE_MS = 120_000;

const Recovered = Type.Object({ certificate: Type.String({ minLength: 1 }) });

/** Answers that do not change by asking again. */
const FINAL: ReadonlySet<ErrorCode> = new Set([
  'RECOVERY_DENIED',
  'CERT_REVOKED',
  'CERT_UNKNOWN',
  'HOST_NOT_FOUND',
  'NOT_FOUND',
  'VALIDATION',
]);

export interface RecoverOptions {
  readonly credentials: Credentials;
  readonly httpsAgent: Agent;
  readonly clock: Clock;
  readonly log: Logger;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Told what the host waits for. */
  readonly onWait: (why: string) => void;
  /** The server could not be verified: its CA may have changed. Never rejects. */
  readonly onUnverified?: () => Promise<void>;
}

/**
 * Asks until there is a new certificate, or the server says that the last one is good: then it is worth to connect.
 * @param why the last certificate does not count
 * @throws FairleadError with why there will be none, or the reason of `stop`
 */
export async function recover(options: RecoverOptions, why: string, stop: AbortSignal): Promise<void> {
  const { clock, log, random, onWait } = options;
  const delay = new Backoff({ minMs: ASK_MIN_MS, maxMs: ASK_MAX_MS, random });
  log.warn({ why }, 'asking the server for a new certificate');
  for (;;) {
    let waitMs = delay.next();
    const outcome = await ask(options, stop);
    if (outcome === 'connect') return;
    if (outcome !== 'pending') {
      if (FINAL.has(outcome.code)) throw outcome;
      if (outcome.code === 'QUARANTINED') waitMs += QUARANTINE_MS;
      waitMs = Math.max(waitMs, (outcome.retryAfterSeconds ?? 0) * 1000);
    }
    const waitsFor =
      outcome === 'pending' ? 'an administrator must approve it: fairlead host approve' : outcome.message;
    onWait(`${why}; ${waitsFor}`);
    log.warn({ why, waitsFor, delayMs: waitMs }, 'no new certificate yet; asking again after a while');
    await sleep(waitMs, clock, stop);
  }
}

type Outcome = 'connect' | 'pending' | FairleadError;

/** One question. What may pass is returned, as what is final is; what nobody expects is thrown. */
async function ask(options: RecoverOptions, stop: AbortSignal): Promise<Outcome> {
  const { credentials, clock } = options;
  try {
    const answer = await send(options, stop);
    if (answer.status === 202) return 'pending';
    if (answer.status !== 201 || !fits(Recovered, answer.body)) throw refusalOf(answer, 'a recovery');
    await credentials.accept(answer.body.certificate, clock.now());
    return 'connect';
  } catch (error) {
    stop.throwIfAborted();
    if (!isFairleadError(error)) throw error;
    // Who was away for that long may have missed a change of the root as well.
    if (error instanceof UnreachableError && error.failure === 'tls') await options.onUnverified?.();
    // The server finds the certificate good: this machine's clock is ahead of its.
    if (error.code === 'CONFLICT') return 'connect';
    // The key is of no use; the next question brings another one.
    if (error.code === 'CSR_INVALID' || error.code === 'PROTOCOL_ERROR') await credentials.discard();
    return error;
  }
}

async function send({ credentials, httpsAgent, clock }: RecoverOptions, signal: AbortSignal) {
  // Whether a pair that was issued last was ever used cannot be told any more; it proves the host either way.
  await credentials.promote();
  const { record, certificate, keyPem, caPem } = credentials.current();
  const csr = await credentials.request(clock.now());
  const proof = await proveRecovery(certificate, csr, createPrivateKey(keyPem));
  return await requestPinned({
    url: `${record.server}/api/v1/recover`,
    method: 'POST',
    // The host's own certificate alone, whatever stands behind it in the file.
    body: { certificate: certificate.toString(), csr, proof },
    ca: caPem,
    servername: INTERNAL_SERVER_NAME,
    agent: httpsAgent,
    signal,
  });
}
