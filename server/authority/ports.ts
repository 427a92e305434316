/** What the authority needs of the store, and no more. */

/** Single values of the installation. */
export interface Settings {
  get(key: string): Promise<Buffer | undefined>;
  /** Sets the value, durably and at once, if the key has none yet. @returns the value that stands */
  setOnce(key: string, value: Uint8Array): Promise<Buffer>;
}

/** The certificates that may open a session. */
export interface CertificateStore {
  active(): Promise<readonly { readonly serial: string; readonly hostId: string }[]>;
}
