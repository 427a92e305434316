/**
 * The pairs of key and certificate that this host has: the working one, and on the way to the next one its successor.
 * A process that is killed between any two steps finds a pair that works when it starts again.
 */
import { createPrivateKey, generateKeyPair, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createCsr } from '../../certs/csr.ts';
import { FairleadError } from '../../shared/errors.ts';
import { checkIssued } from './check-issued.ts';
import { durableFiles, type IdentityFiles, JOURNAL_FILE, type RenewalJournal } from './renewal-journal.ts';
import { CERT_FILE, type Identity, KEY_FILE, loadIdentity, readJournal, stateError } from './state-dir.ts';

const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;
const generate = promisify(generateKeyPair);

export class Credentials {
  readonly #stateDir: string;
  readonly #files: IdentityFiles;
  #working: Identity;
  #journal: RenewalJournal | undefined;
  /** The pair in the journal, once it is one. */
  #candidate: Identity | undefined;

  /**
   * The pairs in `stateDir`, which this process must hold. Finishes what a killed one had begun.
   * @throws FairleadError NOT_FOUND when not enrolled, VALIDATION when the files are damaged
   */
  static async load(stateDir: string, files: IdentityFiles = durableFiles): Promise<Credentials> {
    const working = await loadIdentity(stateDir);
    const credentials = new Credentials(stateDir, files, working, await readJournal(stateDir));
    // The journal's pair is that of the files, or of one of them: it was proven before, and about to take its place.
    if (credentials.#journal?.certPem === working.certPem) await credentials.promote();
    return credentials;
  }

  /** The pair that the process which holds `stateDir` would connect with now. Changes nothing. @throws as `load` */
  static async peek(stateDir: string): Promise<Identity> {
    const working = await loadIdentity(stateDir);
    return new Credentials(stateDir, durableFiles, working, await readJournal(stateDir)).current();
  }

  private constructor(stateDir: string, files: IdentityFiles, working: Identity, journal: RenewalJournal | undefined) {
    this.#stateDir = stateDir;
    this.#files = files;
    this.#working = working;
    this.#setJournal(journal);
  }

  /** The pair to connect with: the newest one. */
  current(): Identity {
    return this.#candidate ?? this.#working;
  }

  /** Whether `current` is a pair that was not proven yet. */
  get isUnproven(): boolean {
    return this.#candidate !== undefined;
  }

  /** Puts other roots into the identity, which are on the disk already; the pairs stay. */
  trust({ caPem, record }: Pick<Identity, 'caPem' | 'record'>): void {
    this.#working = { ...this.#working, caPem, record };
    if (this.#candidate !== undefined) this.#candidate = { ...this.#candidate, caPem, record };
  }

  /** A request for the new key, which is made and on the disk by then. Asked again it is the same one. */
  async request(now: number): Promise<string> {
    if (this.#journal === undefined) {
      const { privateKey } = await generate('ec', { namedCurve: 'P-256' });
      const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
      await this.#writeJournal({ keyPem, since: new Date(now).toISOString() });
    }
    return await createCsr(createPrivateKey(this.#journal?.keyPem ?? ''));
  }

  /**
   * Takes in what the server has issued for the new key.
   * @throws FairleadError PROTOCOL_ERROR if it is not for that key and this host, or not from the CA
   */
  async accept(certPem: string, now: number): Promise<void> {
    const journal = this.#journal;
    if (journal === undefined || journal.certPem === certPem) return;
    const { caPem, record } = this.#working;
    checkIssued({ certPem, caPem, keyPem: journal.keyPem, hostId: record.hostId, now });
    await this.#writeJournal({ ...journal, certPem });
  }

  /** The new pair was proven, or the old one is of no use any more: it becomes the working one. Idempotent. */
  async promote(): Promise<void> {
    const pair = this.#candidate;
    if (pair === undefined) return;
    await this.#step(() => this.#files.write(join(this.#stateDir, KEY_FILE), pair.keyPem, PRIVATE_MODE));
    await this.#step(() => this.#files.write(join(this.#stateDir, CERT_FILE), pair.certPem, PUBLIC_MODE));
    this.#working = pair;
    await this.discard();
  }

  /** Forgets the new key, and its certificate if it has one: the working pair goes on. Idempotent. */
  async discard(): Promise<void> {
    if (this.#journal === undefined) return;
    await this.#step(() => this.#files.remove(join(this.#stateDir, JOURNAL_FILE)));
    this.#setJournal(undefined);
  }

  async #writeJournal(journal: RenewalJournal): Promise<void> {
    const text = `${JSON.stringify(journal)}\n`;
    await this.#step(() => this.#files.write(join(this.#stateDir, JOURNAL_FILE), text, PRIVATE_MODE));
    this.#setJournal(journal);
  }

  #setJournal(journal: RenewalJournal | undefined): void {
    this.#journal = journal;
    const { keyPem, certPem } = journal ?? {};
    if (keyPem === undefined || certPem === undefined) this.#candidate = undefined;
    else this.#candidate = { ...this.#working, keyPem, certPem, certificate: new X509Certificate(certPem) };
  }

  async #step(change: () => Promise<void>): Promise<void> {
    try {
      await change();
    } catch (error) {
      // Another day it may work: this must not end a run, as a damaged state does.
      const { message } = stateError(this.#stateDir, 'cannot be written', error);
      throw new FairleadError('STORE_UNAVAILABLE', message, { cause: error });
    }
  }
}
