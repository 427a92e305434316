/** What the CA's keys are sealed under while the server runs: its passphrase, or the master key beside the database. */
import { sealedKind, sealKey, unsealKey } from '../../certs/key-at-rest.ts';
import { FairleadError } from '../../shared/errors.ts';
import { readMasterKey, readOrCreateMasterKey } from './master-key.ts';

export interface SealOptions {
  readonly dataDir: string;
  readonly passphrase?: string | undefined;
}

/** Seals and unseals keys. The secret is in memory as long as the keys themselves are. */
export interface Seal {
  readonly kind: 'passphrase' | 'master-key';
  /** @returns the sealed key in base64 */
  seal(keyPem: string): Promise<string>;
  /** @throws FairleadError VALIDATION in one sentence, if the key is sealed under something else or was changed */
  unseal(sealed: string): Promise<string>;
}

/**
 * The seal of a first start; makes the master key unless there is a passphrase.
 * @throws FairleadError VALIDATION if the passphrase is empty, or master.key is something else
 */
export async function newSeal({ passphrase, dataDir }: SealOptions): Promise<Seal> {
  if (passphrase === '') throw new FairleadError('VALIDATION', 'the passphrase of the CA is empty');
  return sealWith(passphrase ?? (await readOrCreateMasterKey(dataDir)));
}

/**
 * The seal of a store whose keys are sealed as `sample` is.
 * @throws FairleadError VALIDATION if that is not what was given
 */
export async function existingSeal(sample: string, { passphrase, dataDir }: SealOptions): Promise<Seal> {
  const kind = sealedKind(Buffer.from(sample, 'base64'));
  if (kind === 'passphrase' && passphrase === undefined) {
    throw new FairleadError('VALIDATION', "the CA's key is sealed under a passphrase: start with --ca-passphrase-file");
  }
  if (kind === 'master-key' && passphrase !== undefined) {
    throw new FairleadError(
      'VALIDATION',
      "the CA's key is sealed under master.key, not under a passphrase: start without --ca-passphrase-file",
    );
  }
  return sealWith(passphrase ?? (await readMasterKey(dataDir)));
}

/** @param secret a passphrase, or the bytes of a master key */
export function sealWith(secret: string | Buffer): Seal {
  const kind = typeof secret === 'string' ? 'passphrase' : 'master-key';
  return {
    kind,
    seal: async (keyPem) => (await sealKey(keyPem, secret, kind)).toString('base64'),
    unseal: (sealed) => unsealKey(Buffer.from(sealed, 'base64'), secret),
  };
}
