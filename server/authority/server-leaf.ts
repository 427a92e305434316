/**
 * The server's own certificate, renewed while the server runs. Key and certificate live in memory only and are made new
 * at every start: that costs one signature, a changed public host is in the certificate from the next start on, a
 * stolen store or backup cannot stand in for the server, and clients pin the CA, so that none of them notices.
 */
import type { Logger } from 'pino';
import type { Ca, IssuedCert } from '../../certs/authority.ts';
import type { Clock, Timer } from '../../shared/clock.ts';

/** What a TLS listener presents, in PEM. */
export interface ServerTls {
  readonly key: string;
  readonly cert: string;
}

export interface ServerLeafOptions {
  /** What issues now. */
  readonly ca: () => Ca;
  readonly publicHosts: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
  /** Called at every look at the date, every hour. */
  readonly onLook?: () => void;
}

export type IssuedLeaf = IssuedCert & { readonly keyPem: string };

/** The part of its life after which a certificate is renewed. */
const RENEW_AFTER = 2 / 3;
/** The date is looked at this often, since no timer runs for weeks and clocks are set. */
const LOOK_MS = 60 * 60_000;
const RETRY_MS = 60_000;

export class ServerLeaf {
  readonly #options: ServerLeafOptions;
  readonly #listeners = new Set<(tls: ServerTls) => void>();
  #leaf: IssuedLeaf;
  #timer: Timer | undefined;
  #closed = false;

  /** @throws FairleadError VALIDATION if a public host is neither a name nor an address, CERT_EXPIRED */
  static async issue(options: ServerLeafOptions): Promise<ServerLeaf> {
    return new ServerLeaf(options, await issueLeaf(options));
  }

  private constructor(options: ServerLeafOptions, leaf: IssuedLeaf) {
    this.#options = options;
    this.#leaf = leaf;
    this.#lookIn(this.#waitMs());
  }

  tls(): ServerTls {
    return { key: this.#leaf.keyPem, cert: this.#leaf.certPem };
  }

  get spkiPin(): string {
    return this.#leaf.spkiPin;
  }

  /** A certificate by another CA, for `take`. @throws FairleadError CERT_EXPIRED */
  async prepare(ca: Ca): Promise<IssuedLeaf> {
    return await issueLeaf({ ...this.#options, ca: () => ca });
  }

  /** Presents `leaf` from now on. */
  take(leaf: IssuedLeaf): void {
    if (this.#closed) return;
    this.#leaf = leaf;
    this.#options.log.info({ serial: leaf.serial, notAfter: leaf.notAfter }, "the server's certificate was renewed");
    for (const listener of this.#listeners) {
      try {
        listener(this.tls());
      } catch (error) {
        this.#options.log.error({ err: error }, 'a listener did not take the new certificate');
      }
    }
  }

  /** Calls `listener` with every new certificate. @returns what ends that */
  onRenewed(listener: (tls: ServerTls) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends renewal. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  #lookIn(ms: number): void {
    this.#timer = this.#options.clock.setTimeout(() => void this.#look(), ms);
  }

  /** Renews if it is time to. Never rejects. */
  async #look(): Promise<void> {
    let waitMs = RETRY_MS;
    try {
      this.#options.onLook?.();
      if (this.#isDue()) await this.#renew();
      waitMs = this.#waitMs();
    } catch (error) {
      this.#options.log.error({ err: error }, "the server's certificate could not be renewed; trying again");
    }
    if (!this.#closed) this.#lookIn(waitMs);
  }

  async #renew(): Promise<void> {
    const ca = this.#options.ca();
    const leaf = await issueLeaf(this.#options);
    // Another CA may have taken over meanwhile, and its certificate is in place already.
    if (ca === this.#options.ca()) this.take(leaf);
  }

  /** Also when the clock was set back to before the certificate's life. One as old as the CA gains nothing. */
  #isDue(): boolean {
    const now = this.#options.clock.now();
    if (now < this.#leaf.notBefore.getTime()) return true;
    return now >= this.#renewAt() && this.#leaf.notAfter < this.#options.ca().notAfter;
  }

  #renewAt(): number {
    const start = this.#leaf.notBefore.getTime();
    return start + (this.#leaf.notAfter.getTime() - start) * RENEW_AFTER;
  }

  #waitMs(): number {
    const left = this.#renewAt() - this.#options.clock.now();
    return left > 0 ? Math.min(left, LOOK_MS) : LOOK_MS;
  }
}

function issueLeaf({ ca, publicHosts, clock }: ServerLeafOptions): Promise<IssuedLeaf> {
  return ca().issueServer({ publicHosts, clock });
}
