/** Enrollment: tokens are made and revoked here, and each of them turns one certificate request into one host. */
import type { Ca } from '../../certs/authority.ts';
import { formatToken } from '../../certs/enrollment-token.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_NAME_CHARS } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import { validate } from '../../shared/validate.ts';
import { newSecret } from '../access/secret.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import { checkHostName } from '../store/host-names.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import { type EnrollmentTokenView, tokenView } from './enrollment-token-view.ts';
import { type Redeemed, type RedeemRequest, redeem } from './redeem.ts';
import { type CutOff, requireAdoptable, takeBack } from './take-over.ts';

export const DEFAULT_TOKEN_TTL_SECONDS = 3600;
export const MIN_TOKEN_TTL_SECONDS = 1;
export const MAX_TOKEN_TTL_SECONDS = 7 * 24 * 3600;

/** What enrollment needs of the server's certificate authority. */
export interface EnrollmentAuthority {
  readonly installationId: string;
  readonly caPem: string;
  /** The roots and intermediates whose certificates are accepted, in PEM. */
  trust(): { readonly clientCaPem: string };
  /** The pin of the current root. */
  readonly caFingerprint: string;
  /** Whether a token with this pin leads to this server. */
  isTrusted(pin: string): boolean;
  readonly ca: Pick<Ca, 'issueAgent'>;
  /** The serials that may open a session. */
  readonly active: { add(serial: string, hostId: string): void; remove(serial: string): void };
  /** The server's own certificate, whose key no agent may use. */
  serverTls(): { readonly cert: string };
}

export interface EnrollmentDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly authority: EnrollmentAuthority;
  readonly clock: Clock;
  readonly cutOff: CutOff;
}

export interface EnrollmentTokenRequest {
  /** What people call the token. */
  readonly name?: string | undefined;
  /** How long it is good for: 1 s to 7 days, 1 hour unless given. */
  readonly ttlSeconds?: number | undefined;
  /** The name its host gets, whatever the host asks for. */
  readonly hostName?: string | undefined;
  /** Tags its host gets, besides those it asks for. */
  readonly tags?: readonly string[] | undefined;
  /** The host that it takes over as it is, by id or name; in place of a name and tags. */
  readonly adopts?: string | undefined;
}

export interface CreatedEnrollmentToken extends EnrollmentTokenView {
  /** Shown this once. */
  readonly token: string;
}

export class Enrollment {
  readonly #deps: EnrollmentDeps;

  constructor(deps: EnrollmentDeps) {
    this.#deps = deps;
  }

  /** @throws FairleadError VALIDATION; HOST_NOT_FOUND, CONFLICT for a host that cannot be taken over */
  async createToken(request: EnrollmentTokenRequest, actor: Actor): Promise<CreatedEnrollmentToken> {
    const { name, hostName, ttlSeconds = DEFAULT_TOKEN_TTL_SECONDS, tags = [] } = request;
    checkRequest(name, ttlSeconds);
    if (hostName !== undefined) checkHostName(hostName);
    validate(Tags, tags, 'tags');
    const { store, audit, authority, clock } = this.#deps;
    const made = newSecret();
    const now = clock.now();
    const asked = {
      id: made.id,
      name,
      secretHash: made.hash,
      tags: [...tags],
      createdBy: actor.name,
      createdAt: now,
      expiresAt: now + ttlSeconds * 1000,
    };
    const row = await store.transaction(async (tables) => {
      const host = request.adopts === undefined ? undefined : await requireAdoptable(tables, request.adopts);
      // One that waits for the same host gives way to this one.
      const replaced = host && (await tables.enrollmentTokens.revokeAdopting(host.id, now, 'unused'));
      const token = { ...asked, hostName: host?.name ?? hostName, adopts: host?.id };
      await tables.enrollmentTokens.insert(token);
      const detail = { name, hostName: token.hostName, adopts: host?.id, replaced, tags, ttlSeconds };
      const entry = { actor: actor.name, address: actor.address, action: 'enrollment-token.create', target: made.id };
      await audit.record({ ...entry, result: 'ok', detail }, tables);
      return token;
    });
    const token = formatToken('fle1', { pin: authority.caFingerprint, id: made.id, secret: made.secret });
    return { ...tokenView({ ...row, revokedAt: undefined, use: undefined }, now), token };
  }

  /** Newest first, in whatever state. */
  async list(page: PageRequest): Promise<Page<EnrollmentTokenView>> {
    const { items, ...rest } = await this.#deps.store.enrollmentTokens.list(page);
    const now = this.#deps.clock.now();
    return { items: items.map((token) => tokenView(token, now)), ...rest };
  }

  /**
   * Revokes a token. One that is used already can no longer be asked for its certificate again; its host stays. If it was
   * to take a host over and has not yet, its certificate is revoked with it. One that is revoked stays as it is.
   * @throws FairleadError NOT_FOUND
   */
  async revoke(id: string, actor: Actor): Promise<void> {
    const { store, audit, clock, cutOff } = this.#deps;
    const reason = 'the enrollment token was revoked before this agent had taken the host over';
    const { hostId, serials } = await store.transaction(async (tables) => {
      const token = await tables.enrollmentTokens.find(id);
      if (token === undefined)
        throw new FairleadError('NOT_FOUND', `there is no enrollment token ${JSON.stringify(id)}`);
      const { name, adopts: hostId = '', use } = token;
      if (!(await tables.enrollmentTokens.revoke(id, clock.now()))) return { hostId, serials: [] };
      // Revoked already, if a later token was used.
      const isLast = use !== undefined && (await tables.certificates.find(use.serial))?.state !== 'revoked';
      const serials = isLast ? await takeBack(tables, hostId, clock.now(), reason) : [];
      const entry = { actor: actor.name, address: actor.address, action: 'enrollment-token.revoke', target: id };
      await audit.record({ ...entry, result: 'ok', detail: { name, ...(serials.length > 0 && { serials }) } }, tables);
      return { hostId, serials };
    });
    if (serials.length > 0) cutOff(hostId, serials, reason);
  }

  /**
   * Turns a token and a certificate request into a host and its certificate.
   * @param address where the request came from
   * @throws FairleadError TOKEN_INVALID (the same one whatever is wrong with the token), CSR_INVALID, CONFLICT if the
   * name is taken, VALIDATION. None of them uses the token up.
   */
  async redeem(request: RedeemRequest, address: string): Promise<Redeemed> {
    return await redeem(this.#deps, request, address);
  }
}

function checkRequest(name: string | undefined, ttlSeconds: number): void {
  if (name !== undefined && (name.trim() === '' || name.length > MAX_NAME_CHARS || /\p{Cc}/u.test(name))) {
    throw new FairleadError('VALIDATION', `name is not valid: it has 1 to ${MAX_NAME_CHARS} printable characters`);
  }
  const inBounds = ttlSeconds >= MIN_TOKEN_TTL_SECONDS && ttlSeconds <= MAX_TOKEN_TTL_SECONDS;
  if (!Number.isInteger(ttlSeconds) || !inBounds) {
    throw new FairleadError(
      'VALIDATION',
      `ttlSeconds is not valid: it is a whole number from ${MIN_TOKEN_TTL_SECONDS} to ${MAX_TOKEN_TTL_SECONDS}`,
    );
  }
}
