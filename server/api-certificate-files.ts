/**
 * The API's own certificate in files, which others renew: looked at every few seconds, and put in place once a changed
 * pair has held still from one look to the next and fits together. Until then the one before is served.
 */
import { X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { Logger } from 'pino';
import type { Clock, Timer } from '../shared/clock.ts';
import { toWireError } from '../shared/errors.ts';
import { type ApiTls, readApiCertificate } from './config.ts';

type Files = Extract<ApiTls, { mode: 'files' }>;

/** A certificate chain and its key in PEM. */
export interface CertificatePair {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateFilesOptions {
  readonly files: Files;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
}

const LOOK_MS = 2_000;
const DAY_MS = 24 * 60 * 60_000;
/** A certificate that ends sooner than this is warned of, once a day. */
const WARN_DAYS = 14;

export class CertificateFiles {
  readonly #options: CertificateFilesOptions;
  #current: CertificatePair;
  /** How the files looked whose content is served … */
  #served: string;
  /** … and at the last look, if they looked otherwise. */
  #seen: string | undefined;
  #complaint: string | undefined;
  #warnedAt: number | undefined;
  #put: ((pair: CertificatePair) => void) | undefined;
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  /** @throws FairleadError VALIDATION if a file cannot be read or does not hold what it should */
  static async open(options: CertificateFilesOptions): Promise<CertificateFiles> {
    // The look before the content: a change in between is then seen at the next look.
    const look = await lookOf(options.files);
    return new CertificateFiles(options, look, await read(options.files));
  }

  private constructor(options: CertificateFilesOptions, look: string, pair: CertificatePair) {
    this.#options = options;
    this.#served = look;
    this.#current = pair;
    this.#warnOfExpiry();
  }

  get current(): CertificatePair {
    return this.#current;
  }

  /** Begins to look at the files; calls `put` with each new pair. */
  follow(put: (pair: CertificatePair) => void): void {
    this.#put = put;
    this.#lookAgain();
  }

  /** Looks at the files once. With `now` a change is taken as it stands. Never rejects. */
  look(options: { now?: boolean } = {}): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look(options.now === true));
    return this.#looking;
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #lookAgain(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.setTimeout(() => {
      void this.look().then(() => this.#lookAgain());
    }, LOOK_MS);
  }

  async #look(now: boolean): Promise<void> {
    if (this.#closed) return;
    this.#warnOfExpiry();
    const look = await lookOf(this.#options.files);
    const heldStill = look === this.#seen;
    this.#seen = look;
    if (look === this.#served || !(heldStill || now)) return;
    try {
      const pair = await read(this.#options.files);
      if (pair.cert !== this.#current.cert || pair.key !== this.#current.key) this.#serve(pair);
      this.#served = look;
      this.#complaint = undefined;
    } catch (error) {
      this.#complain(error);
    }
  }

  #serve(pair: CertificatePair): void {
    // Refuses what OpenSSL would refuse before the one that is served is let go of.
    createSecureContext(pair);
    this.#put?.(pair);
    this.#current = pair;
    this.#warnedAt = undefined;
    const { subject, validTo } = new X509Certificate(pair.cert);
    this.#options.log.info({ subject, notAfter: validTo }, 'the API has taken its new certificate from the files');
    this.#warnOfExpiry();
  }

  /** Once for each cause, however often it is met. */
  #complain(error: unknown): void {
    const why = toWireError(error).code === 'INTERNAL' ? String(error) : toWireError(error).message;
    if (why === this.#complaint) return;
    this.#complaint = why;
    this.#options.log.warn({ why }, 'the changed certificate of the API is not usable; the one before is still served');
  }

  #warnOfExpiry(): void {
    const now = this.#options.clock.now();
    if (this.#warnedAt !== undefined && Math.abs(now - this.#warnedAt) < DAY_MS) return;
    const { validToDate } = new X509Certificate(this.#current.cert);
    const left = validToDate.getTime() - now;
    if (left >= WARN_DAYS * DAY_MS) return;
    this.#warnedAt = now;
    const facts = { notAfter: validToDate.toISOString(), file: this.#options.files.certFile };
    if (left <= 0) this.#options.log.error(facts, 'the certificate of the API has expired: replace its file');
    else
      this.#options.log.warn(
        { ...facts, daysLeft: Math.floor(left / DAY_MS) },
        'the certificate of the API expires soon',
      );
  }
}

async function read(files: Files): Promise<CertificatePair> {
  const pair = await readApiCertificate({ apiTls: files });
  if (pair === undefined) throw new Error('certificates of this mode are in files');
  return pair;
}

/** What changes whenever a file is written or replaced, links on its path included. */
async function lookOf({ certFile, keyFile }: Files): Promise<string> {
  const looks = await Promise.all(
    [certFile, keyFile].map(async (file) => {
      try {
        const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
        return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
      } catch (error) {
        // Reading it says why, once it stays so.
        return String(error);
      }
    }),
  );
  return looks.join('\n');
}
