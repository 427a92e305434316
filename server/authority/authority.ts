/** The server's certificate authority: opened from the store at start, with its own certificate and the allow-list. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Ca, IssuedCert } from '../../certs/authority.ts';
import { pinOfSpki } from '../../certs/pin.ts';
import { hostNames } from '../../certs/subject-alt-names.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { ActiveSerials } from './active-serials.ts';
import { type OpenedCa, openOrCreateCa } from './ca-record.ts';
import { readIfThere, replaceFile } from './files.ts';
import type { CertificateStore, Settings } from './ports.ts';
import { ServerLeaf, type ServerTls } from './server-leaf.ts';

export interface AuthorityOptions {
  readonly settings: Settings;
  readonly certificates: CertificateStore;
  /** Holds `master.key` (0600) unless there is a passphrase, and `ca.pem` (0644). Must exist. */
  readonly dataDir: string;
  /** Seals the CA's key; absent: a random master key does. */
  readonly passphrase?: string | undefined;
  /** DNS names and addresses in the server's certificate, besides its internal name. */
  readonly publicHosts: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
  /** How long agents' certificates live, in ms; 30 days unless given. */
  readonly agentCertLifeMs?: number | undefined;
  /** The size of a new CA's key, for tests; 4096 otherwise. */
  readonly caKeyBits?: number | undefined;
}

const DAY_MS = 24 * 60 * 60_000;
/** A CA that ends sooner than this is worth a warning at every start. */
const CA_WARN_DAYS = 180;

export class Authority {
  readonly installationId: string;
  /** Issues certificates, for any key but the CA's and the server's. */
  readonly ca: Ca;
  /** Which agent certificates may open a session. */
  readonly active: ActiveSerials;
  readonly #leaf: ServerLeaf;

  /**
   * Opens the CA in the store, or makes one at the first start, and issues the server's certificate.
   * @throws FairleadError VALIDATION if the CA cannot be opened with what was given, CERT_EXPIRED if it has expired,
   *   STORE_FULL or STORE_UNAVAILABLE if a file cannot be written. What was there is never changed by a refusal.
   */
  static async open(options: AuthorityOptions): Promise<Authority> {
    // Looked at before anything is made: a typo should leave nothing behind.
    hostNames(options.publicHosts);
    const opened = await openOrCreateCa(options);
    const { ca } = opened;
    const { clock, log, publicHosts } = options;
    if (opened.created) log.info({ fingerprint: ca.fingerprint }, 'a certificate authority was made');
    const daysLeft = Math.floor((ca.notAfter.getTime() - clock.now()) / DAY_MS);
    if (daysLeft < CA_WARN_DAYS) log.warn({ daysLeft }, 'the certificate authority expires soon');
    await publish(join(options.dataDir, 'ca.pem'), ca.certPem);
    const active = new ActiveSerials(await options.certificates.active());
    return new Authority(
      opened,
      active,
      await ServerLeaf.issue({ ca, publicHosts, clock, log }),
      options.agentCertLifeMs,
    );
  }

  private constructor({ installationId, ca }: OpenedCa, active: ActiveSerials, leaf: ServerLeaf, lifeMs?: number) {
    this.installationId = installationId;
    this.active = active;
    this.#leaf = leaf;
    const life = lifeMs === undefined ? {} : { lifeMs };
    this.ca = {
      ...ca,
      issueAgent: (request) => this.#issueClient({ ...request, ...life }, ca.issueAgent),
      issueOperator: (request) => this.#issueClient(request, ca.issueOperator),
    };
  }

  get caPem(): string {
    return this.ca.certPem;
  }

  /** The pin of the CA's key. */
  get caFingerprint(): string {
    return this.ca.fingerprint;
  }

  /** What TLS listeners present now. */
  serverTls(): ServerTls {
    return this.#leaf.tls();
  }

  /** Calls `listener` whenever the server's certificate was renewed. @returns what ends that */
  onServerTls(listener: (tls: ServerTls) => void): () => void {
    return this.#leaf.onRenewed(listener);
  }

  /** Ends renewal. Idempotent. */
  close(): void {
    this.#leaf.close();
  }

  async #issueClient<R extends { spki: Buffer }>(
    request: R,
    issue: (request: R) => Promise<IssuedCert>,
  ): Promise<IssuedCert> {
    if (pinOfSpki(request.spki) === this.#leaf.spkiPin) {
      throw new FairleadError('CSR_INVALID', "the key is the server's own");
    }
    return await issue(request);
  }
}

/** Puts the CA's certificate where people find it for curl; the store's copy is the one that counts. */
async function publish(file: string, certPem: string): Promise<void> {
  const found = await readIfThere(file);
  if (found?.toString('utf8') !== certPem) await replaceFile(file, certPem, 0o644);
}
