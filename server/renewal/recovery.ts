/**
 * Hosts that come back without a certificate that counts: it expired while they were away, or the store is older than it.
 * They prove their last key; an administrator, or the policy for certificates that expired a short while ago, decides.
 */
import { randomUUID, type X509Certificate } from 'node:crypto';
import { type CertificateRequest, readCsr } from '../../certs/csr.ts';
import { agentIdentity } from '../../certs/names.ts';
import { certificateBlocks, firstCertificate, readCertificate } from '../../certs/pem.ts';
import { pinOfSpki, spkiOf } from '../../certs/pin.ts';
import { isRecoveryProof } from '../../certs/recovery-proof.ts';
import { normalizeSerial } from '../../certs/serial.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { Budget } from '../../shared/mux/budget.ts';
import type { Actor } from '../audit/audit.ts';
import { RefusedRequest } from '../audit/refused-request.ts';
import type { Tables } from '../store/all-tables.ts';
import type { CertificateRow, CertificateState } from '../store/certificates.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { RecoveryRow } from '../store/recoveries.ts';
import { isIssuedBy, issueSuccessor, requireGoodHost, type Successor, type SuccessorDeps } from './successor.ts';

const REQUEST_LIFE_MS = 7 * 24 * 3_600_000;
/** New requests of one host: a second key in place of the first one is rare, and each writes a row. */
const REQUESTS_PER_SECOND = 1 / 30;
const REQUEST_BURST = 5;
const ACTION = 'host.recover';

export interface RecoveryDeps extends SuccessorDeps {
  /** How long ago a certificate may have expired for its host to get a new one unasked, in ms; 0: never. */
  readonly recoverWithinMs: number;
  /** Why a known certificate opens no session; puts the host of a superseded one into quarantine. */
  refusal(serial: string, address: string): Promise<FairleadError>;
}

export interface RecoveryRequest {
  /** The last certificate, in PEM. */
  readonly certificate: string;
  /** For a new key, in PEM. */
  readonly csr: string;
  /** As `proveRecovery` makes it. */
  readonly proof: string;
}

/** A request with the name of its host, which may have been removed. */
export interface RecoveryView extends RecoveryRow {
  readonly hostName: string | undefined;
}

const REFUSALS: readonly ErrorCode[] = [
  'VALIDATION',
  'CSR_INVALID',
  'CERT_UNKNOWN',
  'CERT_REVOKED',
  'HOST_NOT_FOUND',
  'QUARANTINED',
  'RECOVERY_DENIED',
];

/** Who asks, once it has proven that. */
interface Claimant {
  readonly hostId: string;
  readonly serial: string;
  readonly address: string;
  readonly csr: CertificateRequest;
  /** Absent: the store does not know the certificate. */
  readonly row: CertificateRow | undefined;
}

export class Recovery {
  readonly #deps: RecoveryDeps;
  /** How often each host may begin a request; as many entries as there are hosts that did. */
  readonly #budgets = new Map<string, Budget>();

  constructor(deps: RecoveryDeps) {
    this.#deps = deps;
  }

  /**
   * A certificate for the new key, if policy or an administrator allows it; undefined while nobody has decided.
   * @throws FairleadError CONFLICT if the certificate is good, RATE_LIMITED, OVERLOADED; RefusedRequest otherwise
   */
  async request(request: RecoveryRequest, address: string): Promise<Successor | undefined> {
    let hostId: string | undefined;
    try {
      const claimant = await this.#prove(request, address);
      hostId = claimant.hostId;
      return await this.#decided(claimant);
    } catch (error) {
      if (!isFairleadError(error) || !REFUSALS.includes(error.code)) throw error;
      const actor = hostId === undefined ? 'anonymous' : `host:${hostId}`;
      const detail = { code: error.code, why: error.message };
      throw new RefusedRequest(error, {
        actor,
        address,
        action: ACTION,
        target: hostId ?? '',
        result: 'refused',
        detail,
      });
    }
  }

  /** What is waiting or decided and not expired, newest first. */
  async list(page: PageRequest): Promise<Page<RecoveryView>> {
    const { store, clock } = this.#deps;
    await store.recoveries.deleteExpired(clock.now());
    const { items, ...rest } = await store.recoveries.list(page);
    const views = items.map(async (row) => ({ ...row, hostName: (await store.hosts.find(row.hostId))?.name }));
    return { items: await Promise.all(views), ...rest };
  }

  /** The host gets a certificate for that very key when it asks next. @throws FairleadError NOT_FOUND, CONFLICT */
  async approve(id: string, actor: Actor): Promise<void> {
    await this.#decide(id, 'approved', actor);
  }

  /** The host is told so and gives up. @throws FairleadError NOT_FOUND, CONFLICT */
  async deny(id: string, actor: Actor): Promise<void> {
    await this.#decide(id, 'denied', actor);
  }

  /** @throws FairleadError unless the request comes from whoever has the last key of a host of this installation */
  async #prove(request: RecoveryRequest, address: string): Promise<Claimant> {
    const { store, authority } = this.#deps;
    const certificate = readCertificate(firstCertificate(request.certificate));
    const identity = agentIdentity(certificate);
    const serial = normalizeSerial(certificate.serialNumber);
    const row = await store.certificates.find(serial);
    if (identity?.installationId !== authority.installationId || !this.#isOurs(certificate, row)) {
      throw new FairleadError('CERT_UNKNOWN', 'the certificate is not one that this server has issued to a host');
    }
    if (!(await isRecoveryProof(certificate, request.csr, request.proof))) {
      throw new FairleadError('CERT_UNKNOWN', 'the proof is not by the key of the certificate');
    }
    const csr = await readCsr(request.csr);
    // A CA's key alone makes nobody the host whose serial it has chosen.
    if (row !== undefined && row.hostId !== identity.hostId) {
      throw new FairleadError('CERT_UNKNOWN', 'the certificate has the serial of another one, and was not issued here');
    }
    return { hostId: identity.hostId, serial, address, csr, row };
  }

  /** Whether a CA that counts has issued it. What is known must be the very certificate: its key is what the host proves. */
  #isOurs(certificate: X509Certificate, row: CertificateRow | undefined): boolean {
    if (row !== undefined && row.spkiPin !== pinOfSpki(spkiOf(certificate.publicKey))) return false;
    const trusted = this.#deps.authority.trust().clientCaPem;
    if (isIssuedBy(certificate, trusted)) return true;
    // Its intermediate has expired as well since, and was replaced by another one below a root that still counts.
    const [, intermediate] = row === undefined ? [] : certificateBlocks(row.pem);
    return (
      intermediate !== undefined &&
      isIssuedBy(readCertificate(intermediate), trusted) &&
      isIssuedBy(certificate, intermediate)
    );
  }

  async #decided(claimant: Claimant): Promise<Successor | undefined> {
    const { store, clock, recoverWithinMs } = this.#deps;
    const { hostId, row, csr } = claimant;
    const known = await store.certificates.findByKey(csr.spkiPin);
    // What was issued and whose answer was lost is given out again.
    const wasIssued = known?.hostId === hostId;
    if (wasIssued && row?.state === 'superseded') {
      // Sent again on its way, or recorded: whoever made it had the last key then, which says nothing of today.
      throw new FairleadError('CONFLICT', 'this request was answered before: connect with what it led to');
    }
    if (row !== undefined) await this.#requireUsable(row, claimant.address);
    else if ((await store.hosts.find(hostId)) === undefined) {
      throw new FairleadError('HOST_NOT_FOUND', 'this server knows neither the certificate nor its host');
    } else this.#requireUnrevoked(claimant.serial);
    await requireGoodHost(store, hostId);
    const ago = row === undefined ? Number.POSITIVE_INFINITY : clock.now() - row.notAfter;
    const isAllowed = recoverWithinMs > 0 && ago <= recoverWithinMs;
    if (wasIssued || isAllowed) return await this.#issue(claimant, undefined);
    const asked = await this.#asked(claimant);
    if (asked.state === 'denied') {
      throw new FairleadError('RECOVERY_DENIED', 'an administrator has denied this host a new certificate');
    }
    return asked.state === 'approved' ? await this.#issue(claimant, asked) : undefined;
  }

  /** @throws FairleadError CERT_REVOKED, QUARANTINED, CONFLICT unless the certificate is its host's last one and has expired */
  async #requireUsable({ serial, state, notAfter }: CertificateRow, address: string): Promise<void> {
    if (!isUsable(state)) throw await this.#deps.refusal(serial, address);
    if (this.#deps.clock.now() < notAfter) {
      throw new FairleadError('CONFLICT', 'the certificate is good: connect with it');
    }
  }

  /** What an older store has forgotten, its journal may know. @throws FairleadError CERT_REVOKED */
  #requireUnrevoked(id: string): void {
    const { journal } = this.#deps.store;
    const how = (['certificate', 'superseded'] as const).find((kind) => journal.has({ kind, id }));
    if (how === undefined) return;
    const what = how === 'certificate' ? 'revoked' : 'superseded by another one';
    throw new FairleadError('CERT_REVOKED', `this host's certificate was ${what} before the store was set back`);
  }

  /** @param approval absent: policy allows it */
  async #issue(claimant: Claimant, approval: Decision | undefined): Promise<Successor> {
    const { hostId, serial, address, csr, row } = claimant;
    return await issueSuccessor(this.#deps, {
      hostId,
      csr,
      check: async (tables) => {
        const name = await requireGoodHost(tables, hostId);
        // Asked again here: somebody may have decided otherwise, or the host have used another one meanwhile.
        const standing = await tables.recoveries.findOf(hostId);
        const isApproved =
          approval === undefined || (standing?.state === 'approved' && standing.spkiPin === csr.spkiPin);
        const isStillLast = row === undefined || isUsable((await tables.certificates.find(serial))?.state);
        if (!isApproved || !isStillLast) throw new FairleadError('CONFLICT', 'this has just changed: ask again');
        await tables.recoveries.deleteOf(hostId);
        const entry = { actor: `host:${name}`, address, action: ACTION, target: hostId };
        const approvedBy = approval?.decidedBy ?? 'policy';
        return { ...entry, result: 'ok', detail: { name, before: serial, approvedBy } };
      },
    });
  }

  /** The host's standing request. One for another key takes the place of what was asked before, unless that was denied. */
  async #asked(claimant: Claimant): Promise<Decision> {
    const { store, audit, clock } = this.#deps;
    const { hostId, serial, address, csr, row } = claimant;
    const now = clock.now();
    await store.recoveries.deleteExpired(now);
    const standing = await store.recoveries.findOf(hostId);
    if (standing !== undefined && (standing.state === 'denied' || standing.spkiPin === csr.spkiPin)) return standing;
    if (!this.#mayAsk(hostId)) throw new FairleadError('RATE_LIMITED', 'this host asks with too many keys');
    const why =
      row === undefined
        ? 'this server does not know the certificate: is its store older than that?'
        : `the certificate expired on ${new Date(row.notAfter).toISOString()}`;
    const id = randomUUID();
    const times = { requestedAt: now, expiresAt: now + REQUEST_LIFE_MS };
    await store.transaction(async (tables) => {
      const name = await requireGoodHost(tables, hostId);
      await tables.recoveries.replace({ id, hostId, spkiPin: csr.spkiPin, serial, why, address, ...times });
      const entry = { actor: `host:${name}`, address, action: 'recovery.request', target: hostId };
      const detail = { name, id, serial, spkiPin: csr.spkiPin, why, replaced: standing?.id };
      await audit.record({ ...entry, result: 'ok', detail }, tables);
    });
    return { state: 'pending', decidedBy: undefined };
  }

  #mayAsk(hostId: string): boolean {
    const now = this.#deps.clock.monotonic();
    const budget = this.#budgets.get(hostId) ?? new Budget(REQUESTS_PER_SECOND, REQUEST_BURST, now);
    this.#budgets.set(hostId, budget);
    return budget.take(now);
  }

  async #decide(id: string, state: 'approved' | 'denied', actor: Actor): Promise<void> {
    const { store, audit, clock } = this.#deps;
    await store.transaction(async (tables) => {
      const row = await tables.recoveries.find(id);
      if (row === undefined || row.expiresAt <= clock.now()) {
        throw new FairleadError('NOT_FOUND', `there is no recovery ${JSON.stringify(id)}: list them again`);
      }
      const name = await this.#recoverable(tables, row);
      await tables.recoveries.decide(id, { state, by: actor.name, at: clock.now() });
      const action = state === 'approved' ? 'recovery.approve' : 'recovery.deny';
      const entry = { actor: actor.name, address: actor.address, action, target: row.hostId };
      await audit.record({ ...entry, result: 'ok', detail: { name, id, spkiPin: row.spkiPin } }, tables);
    });
  }

  /** The name of the request's host. @throws FairleadError CONFLICT if that may have no certificate */
  async #recoverable(tables: Tables, { hostId }: RecoveryRow): Promise<string> {
    try {
      return await requireGoodHost(tables, hostId);
    } catch (error) {
      throw isFairleadError(error) ? new FairleadError('CONFLICT', error.message, { cause: error }) : error;
    }
  }
}

type Decision = Pick<RecoveryRow, 'state' | 'decidedBy'>;

function isUsable(state: CertificateState | undefined): boolean {
  return state === 'active' || state === 'pending';
}
