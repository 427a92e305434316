/** Enrollment: a token becomes a certificate. The token is sent only over a connection that trusts the pinned CA alone. */
import { createPrivateKey, generateKeyPair } from 'node:crypto';
import type { Agent } from 'node:https';
import { promisify } from 'node:util';
import Type, { type Static } from 'typebox';
import { createCsr } from '../../certs/csr.ts';
import { parseToken } from '../../certs/enrollment-token.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { firstCertificate } from '../../certs/pem.ts';
import { spkiPin } from '../../certs/pin.ts';
import type { Clock } from '../../shared/clock.ts';
import { ERRORS, type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { NEVER_SENT } from '../../shared/network-errors.ts';
import { httpsUrl, type PinnedAnswer, requestPinned, UnreachableError } from '../../shared/pinned-http.ts';
import { fits } from '../../shared/validate.ts';
import { checkIssued } from './check-issued.ts';
import { pinnedCa } from './pinned-ca.ts';
import {
  type AgentRecord,
  type PendingKey,
  prepareStateDir,
  readPending,
  readRecord,
  removeLeftovers,
  removePending,
  stateError,
  storeIdentity,
  writePending,
} from './state-dir.ts';

export interface EnrollOptions {
  /** The API's URL. */
  readonly server: string;
  readonly token: string;
  readonly stateDir: string;
  readonly name?: string;
  readonly tags: readonly string[];
  readonly caFingerprint?: string;
  /** A CA certificate as PEM. */
  readonly caPem?: string;
}

/** What enroll says of this machine. */
export interface HostFacts {
  readonly hostname: string;
  readonly os: string;
  readonly arch: string;
  readonly agentVersion: string;
}

export interface EnrollDeps {
  readonly clock: Clock;
  readonly facts: HostFacts;
  readonly httpsAgent?: Agent;
  readonly signal?: AbortSignal;
  /** Keeps a second agent process out of the state directory; called once that exists. @returns the release */
  readonly claim: (stateDir: string) => () => void;
}

const SESSION_PATH = '/agent';

const EnrollAnswer = Type.Object({
  hostId: Type.String({ minLength: 1, maxLength: 64 }),
  name: Type.String({ minLength: 1, maxLength: 64 }),
  certificate: Type.String({ minLength: 1 }),
  ca: Type.String({ minLength: 1 }),
  agentUrl: Type.String({ pattern: '^wss://[^/@?#]+(/[^?#]*)?$' }),
});
type EnrollAnswer = Static<typeof EnrollAnswer>;

const Problem = Type.Object({ code: Type.String(), detail: Type.Optional(Type.String()) });

/**
 * Enrolls this host and stores its identity in the state directory.
 * A failure leaves nothing behind, but for the key of a request whose answer was lost: the same command asks again.
 * @throws FairleadError
 */
export async function enroll(options: EnrollOptions, deps: EnrollDeps): Promise<AgentRecord> {
  const { stateDir } = options;
  const server = httpsUrl(options.server).href.replace(/\/+$/, '');
  const token = parseToken('fle1', options.token.trim());
  await refuseIfEnrolled(stateDir);
  const undo = await prepareStateDir(stateDir);
  try {
    const release = deps.claim(stateDir);
    try {
      await refuseIfEnrolled(stateDir);
      await removeLeftovers(stateDir);
      const caPem = await pinnedCa({ ...trustOptions(options, deps), server, pin: token.pin, now: deps.clock.now() });
      const pending = await keyFor(stateDir, token.id);
      const answer = await redeem({ ...options, server }, pending, caPem, deps);
      return await store(options, { server, caPem, pending: pending.key, answer, now: deps.clock.now() });
    } finally {
      release();
    }
  } catch (error) {
    await undo();
    throw error;
  }
}

async function refuseIfEnrolled(stateDir: string): Promise<void> {
  const record = await readRecord(stateDir);
  if (record === undefined) return;
  throw new FairleadError(
    'CONFLICT',
    `this host is already enrolled as ${record.name} at ${record.server} (state in ${stateDir}): ` +
      'run "fairlead-agent unenroll" first, or choose another --state-dir',
  );
}

function trustOptions(options: EnrollOptions, deps: EnrollDeps) {
  return {
    ...(options.caFingerprint === undefined ? {} : { fingerprint: options.caFingerprint }),
    ...(options.caPem === undefined ? {} : { caPem: options.caPem }),
    ...network(deps),
  };
}

function network({ httpsAgent, signal }: EnrollDeps) {
  return {
    ...(httpsAgent === undefined ? {} : { httpsAgent }),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** The key to enroll with, on disk before the token leaves: a lost answer can only be asked again with the same key. */
async function keyFor(stateDir: string, tokenId: string): Promise<{ key: PendingKey; isNew: boolean }> {
  const kept = await readPending(stateDir, tokenId);
  if (kept !== undefined) return { key: kept, isNew: false };
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const key = { tokenId, keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  try {
    await writePending(stateDir, key);
  } catch (error) {
    throw stateError(stateDir, 'cannot be written', error);
  }
  return { key, isNew: true };
}

/** Sends the token and the CSR; takes in nothing but a certificate that is ours and from the pinned CA. */
async function redeem(
  options: EnrollOptions,
  pending: { key: PendingKey; isNew: boolean },
  caPem: string,
  deps: EnrollDeps,
): Promise<EnrollAnswer> {
  try {
    const answer = readAnswer(await request(options, pending.key, caPem, deps));
    const { keyPem } = pending.key;
    checkIssued({ certPem: answer.certificate, caPem, keyPem, hostId: answer.hostId, now: deps.clock.now() });
    return answer;
  } catch (error) {
    if (isUseless(error, pending.isNew)) await removePending(options.stateDir);
    throw mayRepeat(error) ? withAdvice(error) : error;
  }
}

async function request(
  options: EnrollOptions,
  key: PendingKey,
  caPem: string,
  deps: EnrollDeps,
): Promise<PinnedAnswer> {
  const { httpsAgent, ...rest } = network(deps);
  return await requestPinned({
    url: `${options.server}/api/v1/enroll`,
    method: 'POST',
    body: {
      token: options.token.trim(),
      csr: await createCsr(createPrivateKey(key.keyPem)),
      ...deps.facts,
      ...(options.name === undefined ? {} : { name: options.name }),
      ...(options.tags.length === 0 ? {} : { tags: options.tags }),
    },
    ca: caPem,
    servername: INTERNAL_SERVER_NAME,
    ...rest,
    ...(httpsAgent === undefined ? {} : { agent: httpsAgent }),
  });
}

function readAnswer(answer: PinnedAnswer): EnrollAnswer {
  if (answer.status === 201 && fits(EnrollAnswer, answer.body) && URL.canParse(answer.body.agentUrl))
    return answer.body;
  if (answer.status < 400 || !fits(Problem, answer.body)) {
    throw new FairleadError(
      'PROTOCOL_ERROR',
      `the server's answer (status ${answer.status}) is not one to an enrollment`,
    );
  }
  const { code, detail } = answer.body;
  const known: ErrorCode = Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'INTERNAL';
  if (known === 'TOKEN_INVALID') {
    const advice = 'it is unknown, used, expired or revoked; make a new one with "fairlead token create"';
    throw new FairleadError(known, `the server refuses the token: ${advice}`);
  }
  const retryAfterSeconds = Number(answer.headers['retry-after']);
  throw new FairleadError(known, `the server refuses the enrollment: ${detail ?? ERRORS[known].title} [${code}]`, {
    ...(Number.isFinite(retryAfterSeconds) ? { retryAfterSeconds } : {}),
  });
}

/** Where sessions are opened: a URL that names the listener alone gets its path. */
function sessionUrl(agentUrl: string): string {
  const url = new URL(agentUrl);
  if (url.pathname === '/') url.pathname = SESSION_PATH;
  return url.href;
}

/** Whether the pending key can be of no use: the server gave a final answer, or never saw a request with it. */
function isUseless(error: unknown, isNew: boolean): boolean {
  if (error instanceof UnreachableError) return isNew && NEVER_SENT.has(error.failure);
  if (isFairleadError(error, 'RATE_LIMITED')) return isNew;
  return error instanceof FairleadError && ERRORS[error.code].status < 499;
}

/** Whether the server may have acted on a request whose answer did not arrive. */
function mayRepeat(error: unknown): error is FairleadError {
  if (error instanceof UnreachableError) return !NEVER_SENT.has(error.failure);
  return isFairleadError(error, 'CANCELLED');
}

function withAdvice(error: FairleadError): FairleadError {
  const advice = 'the key is kept: run the same command again and the certificate, if one was issued, is handed out';
  return new FairleadError(error.code, `${error.message}; ${advice}`, { cause: error });
}

async function store(
  options: EnrollOptions,
  enrolled: { server: string; caPem: string; pending: PendingKey; answer: EnrollAnswer; now: number },
): Promise<AgentRecord> {
  const { answer, caPem, pending, server } = enrolled;
  const record: AgentRecord = {
    hostId: answer.hostId,
    name: answer.name,
    server,
    agentUrl: sessionUrl(answer.agentUrl),
    caFingerprint: spkiPin(firstCertificate(caPem)),
    enrolledAt: new Date(enrolled.now).toISOString(),
  };
  try {
    await storeIdentity(options.stateDir, { keyPem: pending.keyPem, certPem: answer.certificate, caPem, record });
    await removePending(options.stateDir);
  } catch (error) {
    throw stateError(options.stateDir, 'cannot be written; the key is kept: run the same command again', error);
  }
  return record;
}
