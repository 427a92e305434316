/**
 * The CA as it rests in the store: one value of one setting, so that a start or a change that is cut off leaves the old
 * one or the new one, whole. Certificates are in the clear; keys are sealed.
 */
import Type, { type Static, type TSchema } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { fits } from '../../shared/validate.ts';

export const CA_SETTING = 'authority.ca';
const VERSION = 2;
/** The largest certificate of a CA in PEM: one of RSA-4096 has 2000. Two roots and two endorsements fit one message. */
export const MAX_CA_PEM_CHARS = 3_500;
const MAX_INTERMEDIATES = 8;

const strict = { additionalProperties: false };
const Pem = Type.String({ maxLength: MAX_CA_PEM_CHARS });
/** What `sealKey` made, in base64. */
const SealedKey = Type.String();

/** A CA: its root and, if the root's key is elsewhere, the intermediate whose key this is. */
const CaEntry = Type.Object({ root: Pem, intermediate: Type.Optional(Pem), sealedKey: SealedKey }, strict);
export type CaEntry = Static<typeof CaEntry>;

/**
 * stable: one root. published: a next one is trusted by whoever was told, and issues nothing. activated: it issues, and
 * the previous one is still trusted.
 */
const Phase = Type.Union([Type.Literal('stable'), Type.Literal('published'), Type.Literal('activated')]);
export type Phase = Static<typeof Phase>;

const CaRecord = Type.Object(
  {
    version: Type.Literal(VERSION),
    installationId: Type.String(),
    phase: Phase,
    current: CaEntry,
    next: Type.Optional(CaEntry),
    previous: Type.Optional(CaEntry),
    /** How the roots above endorse each other. */
    endorsements: Type.Array(Pem, { maxItems: 2 }),
    /** Intermediates of before, below roots that are trusted: certificates that they issued may be in use. */
    intermediates: Type.Array(Pem, { maxItems: MAX_INTERMEDIATES }),
    /** The key of an intermediate that an offline root has not signed yet. */
    request: Type.Optional(Type.Object({ csr: Type.String(), sealedKey: SealedKey }, strict)),
    /** The key of other secrets of the installation, from the first of them on. */
    secretsKey: Type.Optional(SealedKey),
    /** Counts the changes of what is trusted. */
    trustVersion: Type.Integer({ minimum: 1 }),
  },
  strict,
);
export type CaRecord = Static<typeof CaRecord>;

/** The first version: one root, for good. */
const CaRecord1 = Type.Object(
  { version: Type.Literal(1), installationId: Type.String(), certPem: Type.String(), sealedKey: SealedKey },
  strict,
);

/** The record of a new CA. */
export function newRecord(installationId: string, current: CaEntry): CaRecord {
  return {
    version: VERSION,
    installationId,
    phase: 'stable',
    current,
    endorsements: [],
    intermediates: [],
    trustVersion: 1,
  };
}

export function encodeRecord(record: CaRecord): Buffer {
  if (!fits(CaRecord, record)) throw new Error('this is no record of a CA');
  return Buffer.from(JSON.stringify(record));
}

/** Reads a record of this version or of the one before. @throws FairleadError VALIDATION in one sentence */
export function decodeRecord(value: Buffer): CaRecord {
  let record: unknown;
  try {
    record = JSON.parse(value.toString('utf8'));
  } catch (cause) {
    throw damaged(cause);
  }
  if (is(CaRecord, record) && isWhole(record)) return record;
  if (is(CaRecord1, record)) {
    return newRecord(record.installationId, { root: record.certPem, sealedKey: record.sealedKey });
  }
  if (is(Type.Object({ version: Type.Integer({ minimum: VERSION + 1 }) }), record)) {
    throw new FairleadError('VALIDATION', 'the CA in the store was written by a newer version of fairlead-server');
  }
  throw damaged();
}

/** The entries of a record: current, then next or previous. */
export function entriesOf({ current, next, previous }: CaRecord): CaEntry[] {
  return [current, next, previous].filter((entry) => entry !== undefined);
}

export function damaged(cause?: unknown): FairleadError {
  return new FairleadError('VALIDATION', 'the CA in the store is damaged: restore the data directory from a backup', {
    cause,
  });
}

function is<S extends TSchema>(schema: S, value: unknown): value is Static<S> {
  return fits(schema, value);
}

function isWhole({ phase, next, previous }: CaRecord): boolean {
  return (next !== undefined) === (phase === 'published') && (previous !== undefined) === (phase === 'activated');
}
