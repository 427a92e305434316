/**
 * The way out for an installation whose intermediate has expired, so that no server can start on it: another one below the
 * same offline root is asked for and taken in while no server runs.
 */
import { CA_KEY_BITS } from '../../certs/authority.ts';
import { createCaRequest } from '../../certs/intermediate.ts';
import { generateRsa, privateKeyPem } from '../../certs/native.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { CA_SETTING, type CaRecord, decodeRecord, encodeRecord } from './ca-record.ts';
import { pinOf, readSigned, signedEntry } from './offline-root.ts';
import { renewIntermediate, requirePhase, rootPin } from './phases.ts';
import type { Commit, Settings } from './ports.ts';
import { existingSeal, type Seal } from './seal.ts';

export interface StoppedCaOptions {
  readonly settings: Settings;
  readonly commit: Commit;
  readonly dataDir: string;
  readonly passphrase: string | undefined;
  readonly clock: Pick<Clock, 'now'>;
  /** The size of an intermediate's key, for tests; 4096 otherwise. */
  readonly caKeyBits?: number;
}

/**
 * The request for another intermediate; the same one again while it was not answered.
 * @returns it in PEM
 * @throws FairleadError VALIDATION, CONFLICT in one sentence; nothing has changed then
 */
export async function requestWhileStopped(options: StoppedCaOptions): Promise<string> {
  const { record, seal } = await openRecord(options);
  if (record.request !== undefined) return record.request.csr;
  const { privateKey } = await generateRsa(options.caKeyBits ?? CA_KEY_BITS);
  const csr = await createCaRequest(privateKey, record.installationId);
  const sealedKey = await seal.seal(privateKeyPem(privateKey));
  const change = { actor: 'system', action: 'ca.request' };
  await options.commit(CA_SETTING, encodeRecord({ ...record, request: { csr, sealedKey } }), change);
  return csr;
}

/**
 * Takes in the intermediate that `fairlead ca sign` made of the request.
 * @throws FairleadError VALIDATION, CONFLICT in one sentence; nothing has changed then
 */
export async function importWhileStopped(options: StoppedCaOptions, bundle: string): Promise<void> {
  const { record, seal } = await openRecord(options);
  const { request, installationId } = record;
  if (request === undefined) {
    throw new FairleadError('CONFLICT', 'there is no request that this could answer: make one with --ca-request-file');
  }
  const now = options.clock.now();
  const signed = readSigned(bundle, { keyPem: await seal.unseal(request.sealedKey), installationId, now });
  if (pinOf(signed.root) !== rootPin(record.current)) {
    throw new FairleadError('VALIDATION', 'this is of another root: only a running server can go over to that');
  }
  const renewed = renewIntermediate(record, signedEntry(signed, request.sealedKey), now);
  const detail = { notAfter: signed.intermediate.validToDate.toISOString() };
  await options.commit(CA_SETTING, encodeRecord(renewed), { actor: 'system', action: 'ca.renew-intermediate', detail });
}

async function openRecord(options: StoppedCaOptions): Promise<{ record: CaRecord; seal: Seal }> {
  const value = await options.settings.get(CA_SETTING);
  if (value === undefined) {
    throw new FairleadError('VALIDATION', `there is no CA in ${options.dataDir} yet: start the server once`);
  }
  const record = decodeRecord(value);
  if (record.current.intermediate === undefined) {
    throw new FairleadError('CONFLICT', 'the root of this CA is not offline: there is no intermediate to renew');
  }
  requirePhase(record, 'stable');
  return { record, seal: await existingSeal(record.current.sealedKey, options) };
}
