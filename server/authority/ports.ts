/** What the authority needs of the store, and no more. */

/** Single values of the installation. */
export interface Settings {
  get(key: string): Promise<Buffer | undefined>;
  /** Sets the value, durably and at once, if the key has none yet. @returns the value that stands */
  setOnce(key: string, value: Uint8Array): Promise<Buffer>;
}

/** What the audit log is to say of a change. */
export interface ChangeEntry {
  readonly actor: string;
  readonly address?: string | undefined;
  readonly action: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** Sets a value and writes the audit row of the change: both are on the disk when it returns, or neither is. */
export type Commit = (key: string, value: Uint8Array, entry: ChangeEntry) => Promise<void>;

/** The certificates that may open a session. */
export interface CertificateStore {
  active(): Promise<readonly { readonly serial: string; readonly hostId: string }[]>;
}

/** What is known of a host whose trust matters: one that is not revoked. */
export interface TrustingHost {
  readonly hostId: string;
  readonly name: string;
  /** The pins of the roots that it said it trusts; undefined if it never said. */
  readonly roots: readonly string[] | undefined;
  /** All that it may come back with: its active certificate, and one that it was given and has not used yet. In PEM. */
  readonly certificates: readonly { readonly serial: string; readonly pem: string }[];
}

/** What hosts said of the roots they trust. */
export interface HostTrustStore {
  list(): Promise<readonly TrustingHost[]>;
}

/** A certificate by which an operator uses the API. */
export interface OperatorCertificate {
  readonly serial: string;
  readonly name: string;
  /** ms since 1970. */
  readonly notAfter: number;
}

/** The certificates by which operators use the API. */
export interface OperatorCertificateStore {
  /** Those that are neither revoked nor expired at `now`, and of none of `issuers`, key identifiers in hex. */
  goodExceptOf(issuers: ReadonlySet<string>, now: number): Promise<readonly OperatorCertificate[]>;
}
