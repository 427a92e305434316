/** The server's certificate authority: opened from the store at start, with its own certificate and the allow-list. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Ca, IssuedCert } from '../../certs/authority.ts';
import { pinOfSpki } from '../../certs/pin.ts';
import { hostNames } from '../../certs/subject-alt-names.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { ActiveSerials } from './active-serials.ts';
import { CA_SETTING, type CaRecord, encodeRecord, type Phase } from './ca-record.ts';
import { type CaState, type OpenedCa, openOrCreateCa, openState, type TrustBundle, trustOf } from './ca-state.ts';
import { expiryWarnings } from './expiry.ts';
import { readIfThere, replaceFile } from './files.ts';
import type { CertificateStore, ChangeEntry, Commit, Settings } from './ports.ts';
import type { Seal } from './seal.ts';
import { SECRETS_KEY_BYTES, Secrets } from './secrets.ts';
import { ServerLeaf, type ServerTls } from './server-leaf.ts';

export interface AuthorityOptions {
  readonly settings: Settings;
  /** Writes changes of the CA; absent where it is only used. */
  commit?(...change: Parameters<Commit>): Promise<void>;
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

/** How often the log is told that a CA ends soon, in ms. */
const WARN_EVERY_MS = 24 * 60 * 60_000;

export class Authority {
  readonly installationId: string;
  /** Which agent certificates may open a session. */
  readonly active: ActiveSerials;
  /** Seals the keys that are made while the server runs. */
  readonly seal: Seal;
  /** Seals what else is not to be read in the store. */
  readonly secrets = new Secrets(() => this.#secretsKey());
  readonly #options: AuthorityOptions;
  readonly #listeners = new Set<(trust: TrustBundle) => void>();
  readonly #witnesses = new Set<() => Promise<void>>();
  readonly #leaf: ServerLeaf;
  #state: CaState;
  #trust: TrustBundle;
  #ca: Ca;
  #isChanging = false;
  #opened: Promise<Buffer> | undefined;
  #warnedAt = Number.NEGATIVE_INFINITY;

  /**
   * Opens the CA in the store, or makes one at the first start, and issues the server's certificate.
   * @throws FairleadError VALIDATION if the CA cannot be opened with what was given, CERT_EXPIRED if it has expired,
   *   STORE_FULL or STORE_UNAVAILABLE if a file cannot be written. What was there is never changed by a refusal.
   */
  static async open(options: AuthorityOptions): Promise<Authority> {
    // Looked at before anything is made: a typo should leave nothing behind.
    hostNames(options.publicHosts);
    const opened = await openOrCreateCa(options);
    const { current } = opened.state;
    const { clock, log, publicHosts } = options;
    if (opened.created) log.info({ fingerprint: current.fingerprint }, 'a certificate authority was made');
    await publishFile(options.dataDir, trustOf(opened.state).rootsPem);
    const active = new ActiveSerials(await options.certificates.active());
    let authority: Authority | undefined;
    const leaf = await ServerLeaf.issue({
      ca: () => authority?.state.current ?? current,
      publicHosts,
      clock,
      log,
      onLook: () => authority?.warn(),
    });
    authority = new Authority(options, opened, active, leaf);
    authority.warn();
    return authority;
  }

  private constructor(options: AuthorityOptions, { state, seal }: OpenedCa, active: ActiveSerials, leaf: ServerLeaf) {
    this.#options = options;
    this.installationId = state.record.installationId;
    this.active = active;
    this.seal = seal;
    this.#leaf = leaf;
    this.#state = state;
    this.#trust = trustOf(state);
    this.#ca = this.#guarded(state.current);
  }

  /** Issues certificates, for any key but the CA's and the server's. Another one after a rotation: not to be kept. */
  get ca(): Ca {
    return this.#ca;
  }

  /** The current root, in PEM. */
  get caPem(): string {
    return this.#ca.rootPem;
  }

  /** The pin of the current root's key, by which clients know this installation. */
  get caFingerprint(): string {
    return this.#ca.fingerprint;
  }

  /** How far a rotation has come. */
  get phase(): Phase {
    return this.#state.record.phase;
  }

  /** The CA as it is stored, with its keys. */
  get state(): CaState {
    return this.#state;
  }

  /** What clients and listeners trust now. */
  trust(): TrustBundle {
    return this.#trust;
  }

  /** Whether whoever knows a root by this pin can be led to the current one. */
  isTrusted(pin: string): boolean {
    return this.#trust.roots.some(({ fingerprint }) => fingerprint === pin);
  }

  /** Calls `listener` whenever another set of roots or intermediates is trusted. @returns what ends that */
  onTrust(listener: (trust: TrustBundle) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Calls `attest` before each change of the CA, which is not made if that fails, and once more after it: whoever has
   * things signed by the CA's key signs them anew before the older one counts no more. @returns what ends that
   */
  onChange(attest: () => Promise<void>): () => void {
    this.#witnesses.add(attest);
    return () => void this.#witnesses.delete(attest);
  }

  /**
   * Whether a certificate should be replaced at once, however long it lasts: it is not of the current root.
   * @param identity.issuerKey the key identifier of the CA that issued it, in hex
   */
  wantsRenewal({ issuerKey }: { readonly issuerKey: string }): boolean {
    return !this.#trust.currentIssuers.has(issuerKey);
  }

  /** What TLS listeners present now. */
  serverTls(): ServerTls {
    return this.#leaf.tls();
  }

  /** Calls `listener` whenever the server's certificate was renewed. @returns what ends that */
  onServerTls(listener: (tls: ServerTls) => void): () => void {
    return this.#leaf.onRenewed(listener);
  }

  /**
   * Runs one change of the CA; there is one at a time.
   * @throws FairleadError CONFLICT while another one runs
   */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isChanging)
      throw new FairleadError('CONFLICT', 'another change of the CA is in progress: wait for its end');
    this.#isChanging = true;
    try {
      return await work();
    } finally {
      this.#isChanging = false;
    }
  }

  /**
   * Makes `record` the CA. Whatever can fail comes before the record is written; from then on it counts, here and at
   * the next start.
   * @throws FairleadError if it cannot be opened or written; nothing has changed then
   */
  async change(record: CaRecord, entry: ChangeEntry): Promise<void> {
    const { dataDir, log } = this.#options;
    if (this.#options.commit === undefined) throw new Error('this authority was opened without a way to change it');
    const state = await openState(record, this.seal, this.#state);
    const trust = trustOf(state);
    const leaf = state.current === this.#state.current ? undefined : await this.#leaf.prepare(state.current);
    for (const attest of this.#witnesses) await attest();
    await this.#options.commit(CA_SETTING, encodeRecord(record), entry);
    this.#state = state;
    this.#trust = trust;
    this.#ca = this.#guarded(state.current);
    for (const listener of this.#listeners) this.#tell(listener);
    // Whoever is told of a new root should know it before its certificate is presented.
    if (leaf !== undefined) this.#leaf.take(leaf);
    // A copy for people, which the next start puts right as well.
    await publishFile(dataDir, trust.rootsPem).catch((error: unknown) => log.error({ err: error }, 'ca.pem is stale'));
    for (const attest of this.#witnesses) {
      await attest().catch((error: unknown) =>
        log.error({ err: error }, "what the CA's key signs was not signed anew"),
      );
    }
  }

  /** What ends soon, in sentences. */
  warnings(): string[] {
    return expiryWarnings(this.#state, this.#options.clock.now());
  }

  /** Tells the log what ends soon, at most once a day. */
  warn(): void {
    const now = this.#options.clock.now();
    if (Math.abs(now - this.#warnedAt) < WARN_EVERY_MS) return;
    this.#warnedAt = now;
    for (const warning of this.warnings()) this.#options.log.warn(warning);
  }

  /** Ends renewal. Idempotent. */
  close(): void {
    this.#leaf.close();
    this.#listeners.clear();
    this.#witnesses.clear();
  }

  async #secretsKey(): Promise<Buffer> {
    this.#opened ??= this.#openSecretsKey().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return await this.#opened;
  }

  /** Made when it is first needed. @throws FairleadError CONFLICT while the CA is being changed */
  async #openSecretsKey(): Promise<Buffer> {
    const { secretsKey } = this.#state.record;
    if (secretsKey !== undefined) return Buffer.from(await this.seal.unseal(secretsKey), 'base64');
    return await this.exclusively(async () => {
      const key = randomBytes(SECRETS_KEY_BYTES);
      const record = { ...this.#state.record, secretsKey: await this.seal.seal(key.toString('base64')) };
      if (this.#options.commit === undefined) throw new Error('this authority was opened without a way to change it');
      await this.#options.commit(CA_SETTING, encodeRecord(record), { actor: 'system', action: 'secrets.key' });
      this.#state = { ...this.#state, record };
      return key;
    });
  }

  #tell(listener: (trust: TrustBundle) => void): void {
    try {
      listener(this.#trust);
    } catch (error) {
      this.#options.log.error({ err: error }, 'a listener did not take the new trust');
    }
  }

  #guarded(ca: Ca): Ca {
    const { agentCertLifeMs: lifeMs } = this.#options;
    const life = lifeMs === undefined ? {} : { lifeMs };
    return {
      ...ca,
      issueAgent: (request) => this.#issueClient({ ...request, ...life }, ca.issueAgent),
      issueOperator: (request) => this.#issueClient(request, ca.issueOperator),
    };
  }

  async #issueClient<R extends { spki: Buffer }>(
    request: R,
    issue: (request: R) => Promise<IssuedCert>,
  ): Promise<IssuedCert> {
    const pin = pinOfSpki(request.spki);
    if (pin === this.#leaf.spkiPin) throw new FairleadError('CSR_INVALID', "the key is the server's own");
    if (this.isTrusted(pin)) throw new FairleadError('CSR_INVALID', "the key is the CA's own");
    return await issue(request);
  }
}

/** Puts the roots where people find them for curl; the store's copy is the one that counts. */
async function publishFile(dataDir: string, rootsPem: string): Promise<void> {
  const file = join(dataDir, 'ca.pem');
  const found = await readIfThere(file);
  if (found?.toString('utf8') !== rootsPem) await replaceFile(file, rootsPem, 0o644);
}
