/** Which hosts a step of a rotation would lock out: they do not trust a root, or hold no certificate of it. */
import { setImmediate } from 'node:timers/promises';
import { firstCertificate, readCertificate } from '../../certs/pem.ts';
import { authorityKeyIdentifier } from '../../certs/x509-fields.ts';
import type { TrustBundle } from './ca-state.ts';
import type { HostTrustStore, TrustingHost } from './ports.ts';

/** Certificates that are read in one turn of the event loop. */
const PER_TURN = 100;

export interface HostName {
  readonly id: string;
  readonly name: string;
}

/** How far the hosts have come with the root that a rotation leads to. */
export interface Readiness {
  readonly hosts: number;
  /** How many trust it, as `notTrusting` says. */
  readonly acknowledged: number;
  readonly unacknowledged: readonly HostName[];
  /** Who may come back with a certificate that is not of the current root. */
  readonly otherCertificates: readonly HostName[];
}

export class HostReadiness {
  readonly #store: HostTrustStore;
  /** The key identifier of the issuer of each certificate that was read; twice as many as there are hosts at most. */
  #issuers = new Map<string, string | undefined>();

  constructor(store: HostTrustStore) {
    this.#store = store;
  }

  /**
   * @param pin the root that hosts should trust
   * @param issuers those of that root
   */
  async look(pin: string, issuers: ReadonlySet<string>, trust: TrustBundle): Promise<Readiness> {
    const hosts = await this.#hosts();
    const unacknowledged = hosts.filter((host) => !this.#trusts(host, pin, issuers));
    return {
      hosts: hosts.length,
      acknowledged: hosts.length - unacknowledged.length,
      unacknowledged: unacknowledged.map(nameOf),
      otherCertificates: hosts.filter((host) => !this.#isOf(host, trust.currentIssuers)).map(nameOf),
    };
  }

  /** The hosts that may come back with a certificate that none of `issuers` issued. */
  async withoutCertificateOf(issuers: ReadonlySet<string>): Promise<HostName[]> {
    return (await this.#hosts()).filter((host) => !this.#isOf(host, issuers)).map(nameOf);
  }

  /**
   * The hosts that do not trust the root with `pin`: by their own word or, if they never gave it, since their certificate
   * is of none of its `issuers`.
   */
  async notTrusting(pin: string, issuers: ReadonlySet<string>): Promise<HostName[]> {
    return (await this.#hosts()).filter((host) => !this.#trusts(host, pin, issuers)).map(nameOf);
  }

  /** Those that have a certificate at all: no others can be locked out. */
  async #hosts(): Promise<TrustingHost[]> {
    const hosts = (await this.#store.list()).filter(({ certificates }) => certificates.length > 0);
    await this.#readIssuers(hosts);
    return hosts;
  }

  #trusts(host: TrustingHost, pin: string, issuers: ReadonlySet<string>): boolean {
    return host.roots?.includes(pin) ?? this.#isOf(host, issuers);
  }

  #isOf({ certificates }: TrustingHost, issuers: ReadonlySet<string>): boolean {
    return certificates.every(({ serial }) => {
      const issuer = this.#issuers.get(serial);
      return issuer !== undefined && issuers.has(issuer);
    });
  }

  async #readIssuers(hosts: readonly TrustingHost[]): Promise<void> {
    const issuers = new Map<string, string | undefined>();
    let read = 0;
    for (const { serial, pem } of hosts.flatMap(({ certificates }) => certificates)) {
      if (!this.#issuers.has(serial)) {
        this.#issuers.set(serial, issuerKeyOf(pem));
        read += 1;
        if (read % PER_TURN === 0) await setImmediate();
      }
      issuers.set(serial, this.#issuers.get(serial));
    }
    this.#issuers = issuers;
  }
}

function issuerKeyOf(pem: string): string | undefined {
  return authorityKeyIdentifier(readCertificate(firstCertificate(pem)))?.toString('hex');
}

function nameOf({ hostId, name }: TrustingHost): HostName {
  return { id: hostId, name };
}
