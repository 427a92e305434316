/** Puts the CA's keys under another passphrase, or under master.key, all at once, while no server runs on them. */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MASTER_KEY_BYTES, sealedKind } from '../../certs/key-at-rest.ts';
import { FairleadError } from '../../shared/errors.ts';
import { CA_SETTING, type CaEntry, type CaRecord, decodeRecord, encodeRecord } from './ca-record.ts';
import { openState } from './ca-state.ts';
import { replaceFile } from './files.ts';
import type { Commit, Settings } from './ports.ts';
import { existingSeal, type Seal, sealWith } from './seal.ts';

export interface ResealOptions {
  readonly settings: Settings;
  readonly commit: Commit;
  readonly dataDir: string;
  /** What opens the keys now; absent: master.key. */
  readonly passphrase: string | undefined;
  /** What is to open them; absent: a new master.key. */
  readonly newPassphrase: string | undefined;
}

const MASTER_KEY = 'master.key';

/**
 * Reseals every key. A crash at any moment leaves them under the old secret, or all under the new one.
 * @throws FairleadError VALIDATION in one sentence if the keys cannot be opened with what was given, or there is nothing
 *   to change; nothing has changed then
 */
export async function resealCa(options: ResealOptions): Promise<void> {
  const { settings, commit, dataDir, newPassphrase } = options;
  const value = await settings.get(CA_SETTING);
  if (value === undefined) {
    throw new FairleadError('VALIDATION', `there is no CA in ${dataDir} yet: start the server once`);
  }
  const record = decodeRecord(value);
  if (newPassphrase === '') throw new FairleadError('VALIDATION', 'the new passphrase of the CA is empty');
  const isUnderMasterKey = sealedKind(Buffer.from(record.current.sealedKey, 'base64')) === 'master-key';
  const old = await existingSeal(record.current.sealedKey, options);
  // Opened as a start would do: what is resealed should be whole.
  await openState(record, old);
  if (isUnderMasterKey && newPassphrase === undefined) {
    throw new FairleadError('VALIDATION', "the CA's keys rest under master.key already");
  }
  const next = newPassphrase === undefined ? await newMasterKey(dataDir) : sealWith(newPassphrase);
  const resealed = await reseal(record, old, next);
  const detail = { to: newPassphrase === undefined ? 'master-key' : 'passphrase' };
  await commit(CA_SETTING, encodeRecord(resealed), { actor: 'system', action: 'ca.reseal', detail });
  // It opens nothing any more, and should not lie about as if it did.
  if (newPassphrase !== undefined) await rm(join(dataDir, MASTER_KEY), { force: true });
}

/** A new one always: an old file that lies about may have been copied. Nothing needs it before the record says so. */
async function newMasterKey(dataDir: string): Promise<Seal> {
  const key = randomBytes(MASTER_KEY_BYTES);
  await replaceFile(join(dataDir, MASTER_KEY), `${key.toString('hex')}\n`, 0o600);
  return sealWith(key);
}

async function reseal(record: CaRecord, old: Seal, next: Seal): Promise<CaRecord> {
  const moved = async <E extends { readonly sealedKey: string }>(entry: E): Promise<E> => ({
    ...entry,
    sealedKey: await next.seal(await old.unseal(entry.sealedKey)),
  });
  const { request, secretsKey, ...rest } = record;
  const entry = async (role: 'next' | 'previous'): Promise<Record<string, CaEntry>> => {
    const there = record[role];
    return there === undefined ? {} : { [role]: await moved(there) };
  };
  return {
    ...rest,
    current: await moved(record.current),
    ...(await entry('next')),
    ...(await entry('previous')),
    ...(request === undefined ? {} : { request: await moved(request) }),
    ...(secretsKey === undefined ? {} : { secretsKey: await next.seal(await old.unseal(secretsKey)) }),
  };
}
