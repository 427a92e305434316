/**
 * The CA as it rests in the store: one value of one setting, so that a first start that is cut off leaves all of it or
 * nothing. The certificate is in the clear; the key is sealed.
 */
import { randomUUID } from 'node:crypto';
import Type, { type Static } from 'typebox';
import { type Ca, caName, createCa, openCa } from '../../certs/authority.ts';
import { sealedKind, sealKey, unsealKey } from '../../certs/key-at-rest.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { fits } from '../../shared/validate.ts';
import { readMasterKey, readOrCreateMasterKey } from './master-key.ts';
import type { Settings } from './ports.ts';

const SETTING = 'authority.ca';
const VERSION = 1;

const CaRecord = Type.Object(
  {
    version: Type.Literal(VERSION),
    installationId: Type.String(),
    certPem: Type.String(),
    /** What `sealKey` made, in base64. */
    sealedKey: Type.String(),
  },
  { additionalProperties: false },
);
type CaRecord = Static<typeof CaRecord>;

export interface CaRecordOptions {
  readonly settings: Settings;
  readonly dataDir: string;
  readonly passphrase?: string | undefined;
  readonly clock: Clock;
  /** The size of a new CA's key, for tests; 4096 otherwise. */
  readonly caKeyBits?: number | undefined;
}

/** The CA that the store holds, opened. `created` says whether this is the first start. */
export interface OpenedCa {
  readonly ca: Ca;
  readonly installationId: string;
  readonly created: boolean;
}

/**
 * Opens the CA in the store, or makes one if the store has none.
 * @throws FairleadError VALIDATION in one sentence, if it cannot be opened with what was given
 */
export async function openOrCreateCa(options: CaRecordOptions): Promise<OpenedCa> {
  const stored = await options.settings.get(SETTING);
  const value = stored ?? (await options.settings.setOnce(SETTING, await newRecord(options)));
  const record = parse(value);
  const keyPem = await unseal(Buffer.from(record.sealedKey, 'base64'), options);
  const ca = openCa({ certPem: record.certPem, keyPem });
  if (!ca.subject.endsWith(`CN=${caName(record.installationId)}`)) throw damaged();
  return { ca, installationId: record.installationId, created: stored === undefined };
}

async function newRecord(options: CaRecordOptions): Promise<Buffer> {
  const installationId = randomUUID();
  // The secret first: a passphrase that cannot be used should not cost the seconds that a key takes.
  const seal = await sealer(options);
  const bits = options.caKeyBits === undefined ? {} : { bits: options.caKeyBits };
  const { certPem, keyPem } = await createCa({ installationId, clock: options.clock, ...bits });
  const sealedKey = (await seal(keyPem)).toString('base64');
  return Buffer.from(JSON.stringify({ version: VERSION, installationId, certPem, sealedKey } satisfies CaRecord));
}

async function sealer({ passphrase, dataDir }: CaRecordOptions): Promise<(keyPem: string) => Promise<Buffer>> {
  if (passphrase === '') throw new FairleadError('VALIDATION', 'the passphrase of the CA is empty');
  if (passphrase !== undefined) return (keyPem) => sealKey(keyPem, passphrase, 'passphrase');
  const masterKey = await readOrCreateMasterKey(dataDir);
  return (keyPem) => sealKey(keyPem, masterKey, 'master-key');
}

async function unseal(sealed: Buffer, { passphrase, dataDir }: CaRecordOptions): Promise<string> {
  const kind = sealedKind(sealed);
  if (kind === 'passphrase' && passphrase === undefined) {
    throw new FairleadError('VALIDATION', "the CA's key is sealed under a passphrase: start with --ca-passphrase-file");
  }
  if (kind === 'master-key' && passphrase !== undefined) {
    throw new FairleadError(
      'VALIDATION',
      "the CA's key is sealed under master.key, not under a passphrase: start without --ca-passphrase-file",
    );
  }
  return await unsealKey(sealed, passphrase ?? (await readMasterKey(dataDir)));
}

function parse(value: Buffer): CaRecord {
  let record: unknown;
  try {
    record = JSON.parse(value.toString('utf8'));
  } catch (cause) {
    throw damaged(cause);
  }
  if (fits(CaRecord, record)) return record;
  if (fits(Type.Object({ version: Type.Integer({ minimum: VERSION + 1 }) }), record)) {
    throw new FairleadError('VALIDATION', 'the CA in the store was written by a newer version of fairlead-server');
  }
  throw damaged();
}

function damaged(cause?: unknown): FairleadError {
  return new FairleadError('VALIDATION', 'the CA in the store is damaged: restore the data directory from a backup', {
    cause,
  });
}
