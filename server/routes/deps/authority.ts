/** What the routes need of the CA: its trust, its rotation and its offline root. */
import type { Actor } from './caller.ts';

/** A root that the installation trusts. */
export interface RootRecord {
  readonly role: 'current' | 'next' | 'previous';
  readonly fingerprint: string;
  readonly certPem: string;
  readonly subject: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly offline: boolean;
}

export interface AuthorityView {
  readonly installationId: string;
  /** The current root, in PEM. */
  readonly caPem: string;
  readonly caFingerprint: string;
  /** What issues certificates: the current root, or the intermediate below it. */
  readonly ca: {
    readonly isIntermediate: boolean;
    readonly subject: string;
    readonly notBefore: Date;
    readonly notAfter: Date;
  };
  readonly phase: CaPhase;
  trust(): { readonly version: number; readonly roots: readonly RootRecord[]; readonly pem: string };
  /** What ends soon, in sentences. */
  warnings(): string[];
}

export type CaPhase = 'stable' | 'published' | 'activated';

export interface HostNameRecord {
  readonly id: string;
  readonly name: string;
}

export interface RotationService {
  status(): Promise<{
    readonly phase: CaPhase;
    readonly hosts: number;
    readonly acknowledged: number;
    readonly unacknowledged: readonly HostNameRecord[];
    readonly otherCertificates: readonly HostNameRecord[];
    readonly otherOperatorCertificates: readonly {
      readonly serial: string;
      readonly name: string;
      readonly notAfter: number;
    }[];
  }>;
  /** @throws FairleadError CONFLICT if it is not the time for it, or that names the hosts it would lock out */
  take(
    action: 'publish' | 'activate' | 'retire' | 'abort',
    options: { readonly force: boolean },
    actor: Actor,
  ): Promise<void>;
}

export interface OfflineRootService {
  /** @returns a request for an intermediate, in PEM. @throws FairleadError CONFLICT */
  request(actor: Actor): Promise<string>;
  /** @throws FairleadError VALIDATION, CONFLICT */
  import(bundle: string, actor: Actor): Promise<'published' | 'renewed'>;
}
