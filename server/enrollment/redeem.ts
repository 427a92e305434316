/**
 * How a token is redeemed. The order is the rule: the token is looked at, the request judged and the certificate signed
 * before anything is written; then one transaction uses the token up, which one redeem alone can, and adds host,
 * certificate and audit row if name and key are free. So whatever fails leaves the token as it was, and whoever comes
 * second learns that before anything else.
 */
import { randomUUID } from 'node:crypto';
import type { IssuedCert } from '../../certs/authority.ts';
import { type CertificateRequest, readCsr } from '../../certs/csr.ts';
import { parseToken, type TokenParts } from '../../certs/enrollment-token.ts';
import { type ErrorCode, FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { Tags } from '../../shared/messages/control.ts';
import { validate } from '../../shared/validate.ts';
import { fitsHash } from '../access/secret.ts';
import { RefusedRequest } from '../audit/refused-request.ts';
import type { Tables } from '../store/all-tables.ts';
import type { EnrollmentTokenRow, TokenUse } from '../store/enrollment-tokens.ts';
import { checkHostName, nameFromHostname } from '../store/host-names.ts';
import type { HostRow } from '../store/hosts.ts';
import type { EnrollmentDeps } from './enrollment.ts';
import { tokenState } from './enrollment-token-view.ts';
import { requireNewKey } from './new-key.ts';
import { adoptable, ENROLLED_AGAIN } from './take-over.ts';

const MAX_HOSTNAME_CHARS = 255;
const MAX_FACT_CHARS = 64;
const ACTION = 'host.enroll';

/** What an agent sends to join. */
export interface RedeemRequest {
  readonly token: string;
  /** PEM. */
  readonly csr: string;
  /** The machine's own name. */
  readonly hostname: string;
  readonly os: string;
  readonly arch: string;
  readonly agentVersion: string;
  /** The name that the host asks for. */
  readonly name?: string | undefined;
  readonly tags?: readonly string[] | undefined;
}

export interface Redeemed {
  readonly hostId: string;
  readonly name: string;
  /** PEM. */
  readonly certificate: string;
  /** PEM. */
  readonly ca: string;
  /** ms since 1970. */
  readonly notAfter: number;
  /** Whether this is the answer to an earlier request once more. */
  readonly repeated: boolean;
}

/** @throws FairleadError as `Enrollment.redeem` says; RefusedRequest if the request is at fault */
export async function redeem(deps: EnrollmentDeps, request: RedeemRequest, address: string): Promise<Redeemed> {
  let token: EnrollmentTokenRow | undefined;
  try {
    token = await findToken(deps, request.token);
    return await redeemWith(deps, token, request, address);
  } catch (error) {
    throw await failed(deps, { token, hostname: request.hostname, address, error });
  }
}

/** The token whose secret `text` holds, in whatever state. @throws FairleadError TOKEN_INVALID */
async function findToken({ store, authority }: EnrollmentDeps, text: string): Promise<EnrollmentTokenRow> {
  const { pin, id, secret } = parse(text);
  const row = await store.enrollmentTokens.find(id);
  if (!fitsHash(secret, row?.secretHash)) throw tokenInvalid(row === undefined ? 'unknown' : 'wrong secret');
  if (row === undefined || !authority.isTrusted(pin)) throw tokenInvalid('made for another CA');
  return row;
}

function parse(text: string): TokenParts {
  try {
    return parseToken('fle1', text);
  } catch (error) {
    throw isFairleadError(error, 'TOKEN_INVALID') ? tokenInvalid('malformed') : error;
  }
}

async function redeemWith(
  deps: EnrollmentDeps,
  token: EnrollmentTokenRow,
  request: RedeemRequest,
  address: string,
): Promise<Redeemed> {
  const { authority, clock } = deps;
  const state = tokenState(token, clock.now());
  if (state === 'used') return await repeat(deps, token, request.csr, address);
  if (state !== 'pending') throw tokenInvalid(state);

  const csr = await readCsr(request.csr);
  const wanted = await wishes(deps, token, request);
  const hostId = token.adopts ?? randomUUID();
  const { installationId } = authority;
  const certificate = await authority.ca.issueAgent({ spki: csr.spki, hostId, installationId, clock });

  const enrolled = await enroll(deps, { token, request, address, hostId, certificate, ...wanted });
  if (enrolled === undefined) return await lostRace(deps, token.id, request.csr, address);
  if (enrolled.revoked.length > 0) deps.cutOff(hostId, enrolled.revoked, ENROLLED_AGAIN);
  return {
    hostId,
    name: enrolled.name,
    certificate: certificate.certPem,
    ca: authority.caPem,
    notAfter: certificate.notAfter.getTime(),
    repeated: false,
  };
}

interface Wishes {
  /** The name that was asked for by token or agent; absent: one made from the machine's own. */
  readonly name: string | undefined;
  readonly tags: string[];
}

/**
 * What token and agent ask for together; where they differ, the token's maker decides. A host that is taken over stays as it
 * is. @throws FairleadError VALIDATION; TOKEN_INVALID if that host cannot be taken over any more
 */
async function wishes({ store }: EnrollmentDeps, token: EnrollmentTokenRow, request: RedeemRequest): Promise<Wishes> {
  if (token.adopts !== undefined) return await requireHost(store, token.adopts);
  const name = token.hostName ?? request.name;
  if (name !== undefined) checkHostName(name);
  const tags = [...new Set([...token.tags, ...(request.tags ?? [])])];
  return { name, tags: validate(Tags, tags, 'tags') };
}

interface NewHost extends Wishes {
  readonly token: EnrollmentTokenRow;
  readonly request: RedeemRequest;
  readonly address: string;
  readonly hostId: string;
  readonly certificate: IssuedCert;
}

interface EnrolledHost {
  readonly name: string;
  /** The serials of those that were enrolled before, and have not taken the host over. */
  readonly revoked: readonly string[];
}

/** @returns nothing if another redeem has used the token up; then nothing is written either. */
async function enroll(deps: EnrollmentDeps, host: NewHost): Promise<EnrolledHost | undefined> {
  const { active } = deps.authority;
  const { serial } = host.certificate;
  try {
    return await deps.store.transaction(async (tables) => {
      const enrolled = await insertHost(deps, tables, host);
      // On the list before the commit, so that a revocation, which can only come after it, takes it off again.
      if (enrolled !== undefined) active.add(serial, host.hostId);
      return enrolled;
    });
  } catch (error) {
    active.remove(serial);
    throw error;
  }
}

async function insertHost(deps: EnrollmentDeps, tables: Tables, host: NewHost): Promise<EnrolledHost | undefined> {
  const { token, request, address, hostId, certificate } = host;
  const { serial, spkiPin: pin } = certificate;
  const now = deps.clock.now();
  if (!(await tables.enrollmentTokens.use(token.id, { at: now, hostId, serial, spkiPin: pin }))) return undefined;
  await requireNewKey(deps.authority, pin, tables);
  const hostname = request.hostname.slice(0, MAX_HOSTNAME_CHARS);
  const { name, revoked } =
    token.adopts === undefined ? await addHost(tables, host, now) : await takeOver(tables, hostId, now);
  await tables.certificates.insert({
    serial,
    hostId,
    spkiPin: pin,
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
    issuedAt: now,
    pem: certificate.certPem,
  });
  const entry = { actor: actorOf(token), address, action: ACTION, target: hostId, result: 'ok' as const };
  const adoption = token.adopts === undefined ? {} : { adopts: true, revoked };
  await deps.audit.record({ ...entry, detail: { name, hostname, serial, tokenId: token.id, ...adoption } }, tables);
  return { name, revoked };
}

async function addHost(tables: Tables, { request, hostId, ...host }: NewHost, now: number): Promise<EnrolledHost> {
  const name = host.name ?? (await tables.hosts.freeName(nameFromHostname(request.hostname)));
  await tables.hosts.insert({
    id: hostId,
    name,
    hostname: request.hostname.slice(0, MAX_HOSTNAME_CHARS),
    os: request.os.slice(0, MAX_FACT_CHARS),
    arch: request.arch.slice(0, MAX_FACT_CHARS),
    agentVersion: request.agentVersion.slice(0, MAX_FACT_CHARS),
    tags: host.tags,
    createdAt: now,
  });
  return { name, revoked: [] };
}

/** The host stays as it is until its new agent has shown that it works. @throws FairleadError TOKEN_INVALID */
async function takeOver(tables: Tables, hostId: string, now: number): Promise<EnrolledHost> {
  const { name } = await requireHost(tables, hostId);
  return { name, revoked: await tables.certificates.revokeOf(hostId, now, ENROLLED_AGAIN) };
}

/** @throws FairleadError TOKEN_INVALID */
async function requireHost(tables: Pick<Tables, 'hosts'>, hostId: string): Promise<HostRow> {
  const host = await adoptable(tables, hostId);
  if (host === undefined) throw tokenInvalid('its host was removed, revoked or taken over');
  return host;
}

/** A redeem that was overtaken: by its own twin, whose answer it shares, or by another one. */
async function lostRace(deps: EnrollmentDeps, tokenId: string, csr: string, address: string): Promise<Redeemed> {
  const token = await deps.store.enrollmentTokens.find(tokenId);
  const state = token === undefined ? 'unknown' : tokenState(token, deps.clock.now());
  if (token === undefined || state !== 'used') throw tokenInvalid(state);
  return await repeat(deps, token, csr, address);
}

/** The answer once more, for the key that got it: it may have been lost on its way. @throws FairleadError TOKEN_INVALID */
async function repeat(
  { store, audit, authority, clock }: EnrollmentDeps,
  token: EnrollmentTokenRow,
  csr: string,
  address: string,
): Promise<Redeemed> {
  const { use } = token;
  if (use === undefined || token.expiresAt <= clock.now()) throw tokenInvalid('used');
  const { spkiPin: pin } = await readSecondCsr(csr);
  if (pin !== use.spkiPin) throw tokenInvalid('used');
  const { host, certificate } = await enrolledBy(store, use);
  const detail = { name: host.name, serial: certificate.serial, tokenId: token.id, repeated: true };
  await audit.record({ actor: actorOf(token), address, action: ACTION, target: host.id, result: 'ok', detail });
  return {
    hostId: host.id,
    name: host.name,
    certificate: certificate.pem,
    ca: authority.caPem,
    notAfter: certificate.notAfter,
    repeated: true,
  };
}

/** A used token is answered in the same way whatever comes with it. */
async function readSecondCsr(csr: string): Promise<CertificateRequest> {
  try {
    return await readCsr(csr);
  } catch (error) {
    throw isFairleadError(error, 'CSR_INVALID') ? tokenInvalid('used') : error;
  }
}

async function enrolledBy({ hosts, certificates }: Tables, { hostId, serial }: TokenUse) {
  const host = await hosts.find(hostId);
  const certificate = await certificates.find(serial);
  if (host === undefined || host.revokedAt !== undefined || certificate?.state !== 'active') {
    throw tokenInvalid('used, and its host is revoked or removed');
  }
  return { host, certificate };
}

/** @param cause for the audit log; whoever asks learns no more than that the token is not valid */
function tokenInvalid(cause: string): FairleadError {
  return new FairleadError('TOKEN_INVALID', 'the enrollment token is unknown, expired, used or revoked', { cause });
}

function actorOf(token: EnrollmentTokenRow): string {
  return `enrollment-token:${token.id}`;
}

interface Failure {
  readonly token: EnrollmentTokenRow | undefined;
  readonly hostname: string;
  readonly address: string;
  readonly error: unknown;
}

const REFUSALS: readonly ErrorCode[] = ['TOKEN_INVALID', 'CSR_INVALID', 'CONFLICT', 'VALIDATION'];

/** The error to throw. A failure of the server's own is written down already. */
async function failed({ audit }: EnrollmentDeps, { token, hostname, address, error }: Failure): Promise<unknown> {
  const row = { actor: token === undefined ? 'anonymous' : actorOf(token), address, action: ACTION };
  if (isFairleadError(error) && REFUSALS.includes(error.code)) {
    const why = typeof error.cause === 'string' ? error.cause : error.message;
    return new RefusedRequest(error, { ...row, result: 'refused', detail: { code: error.code, why, hostname } });
  }
  const { code } = toWireError(error);
  await audit.recordOrLog({ ...row, result: 'failed', detail: { code, hostname } });
  return error;
}
