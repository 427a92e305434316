/** Certificates by which people and programs use the API: issued, checked at every request, revoked. */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { BaseLogger } from 'pino';
import type { Ca } from '../../certs/authority.ts';
import { readCsr } from '../../certs/csr.ts';
import { firstCertificate, readCertificate } from '../../certs/pem.ts';
import { parseSerial } from '../../certs/serial.ts';
import { authorityKeyIdentifier } from '../../certs/x509-fields.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { Tables } from '../store/all-tables.ts';
import type { OperatorCertificateRow } from '../store/operator-certificates.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import type { Principal } from './api-tokens.ts';
import { checkGrant, EVERYWHERE, type Grant, scopeOf } from './grants.ts';
import { type PeerCertificate, peerCertificate } from './peer-certificate.ts';
import { Revocations } from './revocations.ts';
import { resolveScope, type ScopeRequest } from './scope.ts';

const DAY_SECONDS = 24 * 60 * 60;
const DEFAULT_TTL_SECONDS = 90 * DAY_SECONDS;
const MIN_TTL_SECONDS = 60;
const MAX_TTL_SECONDS = 365 * DAY_SECONDS;
/** How exact the time of last use is. */
const LAST_USED_STEP_MS = 60_000;

export interface OperatorCertificateRequest extends Grant, ScopeRequest {
  /** A certificate request in PEM, of which the key alone is taken. */
  readonly csr: string;
  /** 90 days unless given; from a minute to a year. */
  readonly ttlSeconds?: number | undefined;
}

export interface IssuedOperatorCertificate {
  readonly serial: string;
  readonly operatorId: string;
  /** PEM. */
  readonly certificate: string;
  /** PEM. */
  readonly ca: string;
  /** ms since 1970. */
  readonly notAfter: number;
}

export interface OperatorCertificatesDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly authority: {
    readonly installationId: string;
    /** The roots by which the holder is to know the server, in PEM. */
    trust(): {
      readonly rootsPem: string;
      /** The key identifiers of the CAs whose certificates count, in hex. */
      readonly issuers: ReadonlySet<string>;
    };
    /** Calls `listener` when that has changed. */
    onTrust(listener: () => void): unknown;
    readonly ca: Pick<Ca, 'issueOperator'>;
  };
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error' | 'warn'>;
}

export class OperatorCertificates {
  readonly #deps: OperatorCertificatesDeps;
  readonly #revocations: Revocations;
  readonly #peers = new WeakMap<Socket, PeerCertificate>();

  constructor(deps: OperatorCertificatesDeps) {
    this.#deps = deps;
    this.#revocations = new Revocations(deps.log);
    // Lasts as long as the authority does.
    deps.authority.onTrust(() => void this.#endDistrusted());
  }

  /** @throws FairleadError VALIDATION, HOST_NOT_FOUND, CSR_INVALID, CERT_EXPIRED if the CA has expired */
  async create(request: OperatorCertificateRequest, actor: Actor): Promise<IssuedOperatorCertificate> {
    const { authority, clock, store } = this.#deps;
    const { name, role, hosts, tags, ttlSeconds = DEFAULT_TTL_SECONDS } = request;
    checkGrant(request);
    checkTtl(ttlSeconds);
    const { spki, spkiPin } = await readCsr(request.csr);
    const operatorId = randomUUID();
    const { installationId } = authority;
    const issued = await authority.ca.issueOperator({
      spki,
      operatorId,
      installationId,
      lifeSeconds: ttlSeconds,
      clock,
    });
    const notAfter = issued.notAfter.getTime();
    await store.transaction(async (tables) => {
      // A key that leaked with one certificate must not come back with another.
      if ((await tables.certificates.isKeyKnown(spkiPin)) || (await tables.operatorCertificates.isKeyKnown(spkiPin))) {
        throw new FairleadError('CSR_INVALID', 'the key is that of another certificate: make a new one');
      }
      const { serial, notBefore } = issued;
      const grant = { name, role, ...((await resolveScope(tables, { hosts, tags })) ?? EVERYWHERE) };
      const issuerKey = issuerKeyOf(issued.certPem);
      const life = { notBefore: notBefore.getTime(), notAfter, createdAt: clock.now() };
      await tables.operatorCertificates.insert({
        ...grant,
        ...life,
        serial,
        operatorId,
        spkiPin,
        issuerKey,
        createdBy: actor.name,
      });
      await this.#record(tables, 'operator-certificate.create', serial, actor, { ...grant, notAfter });
    });
    return { serial: issued.serial, operatorId, certificate: issued.certPem, ca: authority.trust().rootsPem, notAfter };
  }

  /**
   * Whom the client certificate stands for that `socket` came with; undefined if it came with none.
   * @throws FairleadError UNAUTHORIZED, what it returns does, unless the certificate is one of ours, active and not expired
   */
  authenticate(socket: Socket): Promise<Principal> | undefined {
    const peer = this.#peers.get(socket) ?? peerCertificate(socket, this.#deps.authority.installationId);
    if (peer === undefined) return undefined;
    this.#peers.set(socket, peer);
    return this.#principal(peer);
  }

  /** Newest first, revoked and expired ones included. */
  async list(page: PageRequest): Promise<Page<OperatorCertificateRow>> {
    return await this.#deps.store.operatorCertificates.list(page);
  }

  /** Revokes a certificate at once; one that is revoked already stays as it is. @throws FairleadError NOT_FOUND */
  async revoke(hex: string, actor: Actor): Promise<void> {
    const serial = parseSerial(hex);
    const revoked = await this.#deps.store.transaction(async (tables) => {
      const row = serial === undefined ? undefined : await tables.operatorCertificates.find(serial);
      if (row === undefined) {
        throw new FairleadError('NOT_FOUND', `there is no operator certificate ${JSON.stringify(hex)}`);
      }
      const isNew = await tables.operatorCertificates.revoke(row.serial, this.#deps.clock.now());
      const { name, role } = row;
      if (isNew) await this.#record(tables, 'operator-certificate.revoke', row.serial, actor, { name, role });
      return isNew ? row.serial : undefined;
    });
    if (revoked !== undefined) this.#revocations.announce(tokenId(revoked));
  }

  /** Calls `listener` with the token id of each certificate that is revoked. @returns a function that stops it. */
  onRevoked(listener: (tokenId: string) => void): () => void {
    return this.#revocations.onRevoked(listener);
  }

  async #principal(peer: PeerCertificate): Promise<Principal> {
    if ('refusal' in peer) throw refused(peer.refusal);
    // On a connection of before; a new one does not even pass TLS's own check.
    if (!this.#deps.authority.trust().issuers.has(peer.issuerKey)) throw refused('it is of a root that was retired');
    const row = await this.#deps.store.operatorCertificates.find(peer.serial);
    const now = this.#deps.clock.now();
    // The serial alone says nothing: whoever has a CA's key can choose it.
    if (row?.spkiPin !== peer.spkiPin) throw refused('it is not on the list of active ones');
    if (row.revokedAt !== undefined) throw refused('it is revoked');
    if (row.notAfter <= now) throw refused('it has expired');
    await this.#noteUse(row, now);
    const { name, role, notAfter } = row;
    return { tokenId: tokenId(row.serial), name, role, expiresAt: notAfter, ...scopeOf(row) };
  }

  /** What was opened by certificates of a root that counts no more ends. Never rejects. */
  async #endDistrusted(): Promise<void> {
    const { store, authority, clock, log } = this.#deps;
    try {
      const ended = await store.operatorCertificates.goodExceptOf(authority.trust().issuers, clock.now());
      for (const { serial } of ended) this.#revocations.announce(tokenId(serial));
    } catch (error) {
      log.error({ err: error }, 'streams of operator certificates of a retired root may still run');
    }
  }

  async #record(tables: Tables, action: string, target: string, actor: Actor, detail: object): Promise<void> {
    const entry = { actor: actor.name, address: actor.address, action, target, result: 'ok' as const };
    await this.#deps.audit.record({ ...entry, detail: { ...detail } }, tables);
  }

  /** Reading goes on when the store cannot be written, so a time of use that is not saved is no reason to refuse. */
  async #noteUse({ serial, lastUsedAt }: OperatorCertificateRow, now: number): Promise<void> {
    if (lastUsedAt !== undefined && now - lastUsedAt < LAST_USED_STEP_MS) return;
    try {
      await this.#deps.store.operatorCertificates.markUsed(serial, now, now - LAST_USED_STEP_MS);
    } catch (error) {
      this.#deps.log.warn({ err: error, serial }, 'the time of use of an operator certificate was not saved');
    }
  }
}

function issuerKeyOf(certPem: string): string {
  return authorityKeyIdentifier(readCertificate(firstCertificate(certPem)))?.toString('hex') ?? '';
}

function tokenId(serial: string): string {
  return `cert:${serial}`;
}

function refused(why: string): FairleadError {
  return new FairleadError('UNAUTHORIZED', `the client certificate opens nothing here: ${why}`);
}

function checkTtl(seconds: number): void {
  if (Number.isSafeInteger(seconds) && seconds >= MIN_TTL_SECONDS && seconds <= MAX_TTL_SECONDS) return;
  throw new FairleadError(
    'VALIDATION',
    `ttlSeconds is not valid: it is a whole number from ${MIN_TTL_SECONDS} to ${MAX_TTL_SECONDS} (a year)`,
  );
}
