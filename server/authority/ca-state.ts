/** The CA of a record with its keys in memory, and what follows from it for those who have to trust it. */
import { randomUUID } from 'node:crypto';
import { type Ca, createCa, openCa } from '../../certs/authority.ts';
import { caName } from '../../certs/intermediate.ts';
import { readCertificate } from '../../certs/pem.ts';
import { subjectKeyIdentifier } from '../../certs/x509-fields.ts';
import type { Clock } from '../../shared/clock.ts';
import {
  CA_SETTING,
  type CaEntry,
  type CaRecord,
  damaged,
  decodeRecord,
  encodeRecord,
  newRecord,
} from './ca-record.ts';
import type { Settings } from './ports.ts';
import { existingSeal, newSeal, type Seal } from './seal.ts';

export interface CaState {
  readonly record: CaRecord;
  readonly current: Ca;
  readonly next: Ca | undefined;
  readonly previous: Ca | undefined;
}

export interface CaStateOptions {
  readonly settings: Settings;
  readonly dataDir: string;
  readonly passphrase?: string | undefined;
  readonly clock: Clock;
  /** The size of a new CA's key, for tests; 4096 otherwise. */
  readonly caKeyBits?: number | undefined;
}

/** The CA that the store holds, opened. `created` says whether this is the first start. */
export interface OpenedCa {
  readonly state: CaState;
  readonly seal: Seal;
  readonly created: boolean;
}

/**
 * Opens the CA in the store, or makes one if the store has none.
 * @throws FairleadError VALIDATION in one sentence, if it cannot be opened with what was given
 */
export async function openOrCreateCa(options: CaStateOptions): Promise<OpenedCa> {
  const stored = await options.settings.get(CA_SETTING);
  const value = stored ?? (await options.settings.setOnce(CA_SETTING, await firstRecord(options)));
  const record = decodeRecord(value);
  const seal = await existingSeal(record.current.sealedKey, options);
  return { state: await openState(record, seal), seal, created: stored === undefined };
}

async function firstRecord(options: CaStateOptions): Promise<Buffer> {
  const installationId = randomUUID();
  // The secret first: a passphrase that cannot be used should not cost the seconds that a key takes.
  const seal = await newSeal(options);
  return encodeRecord(newRecord(installationId, await newRoot(installationId, seal, options)));
}

/** A new root of the installation, sealed. */
export async function newRoot(
  installationId: string,
  seal: Seal,
  { clock, caKeyBits }: Pick<CaStateOptions, 'clock' | 'caKeyBits'>,
): Promise<CaEntry> {
  const bits = caKeyBits === undefined ? {} : { bits: caKeyBits };
  const { certPem, keyPem } = await createCa({ installationId, clock, ...bits });
  return { root: certPem, sealedKey: await seal.seal(keyPem) };
}

/** @param before whose keys are opened already. @throws FairleadError VALIDATION */
export async function openState(record: CaRecord, seal: Seal, before?: CaState): Promise<CaState> {
  const open = async (entry: CaEntry): Promise<Ca> => known(entry, before) ?? (await openEntry(entry, record, seal));
  const { current, next, previous } = record;
  return {
    record,
    current: await open(current),
    next: next && (await open(next)),
    previous: previous && (await open(previous)),
  };
}

function known(entry: CaEntry, before: CaState | undefined): Ca | undefined {
  if (before === undefined) return undefined;
  const { record } = before;
  for (const role of ['current', 'next', 'previous'] as const) {
    const there = record[role];
    if (there?.sealedKey === entry.sealedKey && there.intermediate === entry.intermediate) return before[role];
  }
  return undefined;
}

async function openEntry(entry: CaEntry, { installationId }: CaRecord, seal: Seal): Promise<Ca> {
  const { root, intermediate } = entry;
  const keyPem = await seal.unseal(entry.sealedKey);
  const material = intermediate === undefined ? { certPem: root } : { certPem: intermediate, rootPem: root };
  const ca = openCa({ ...material, keyPem });
  if (!ca.subject.endsWith(`CN=${caName(installationId)}`)) throw damaged();
  return ca;
}

/** A root that counts, as it is shown. */
export interface TrustedRoot {
  readonly role: 'current' | 'next' | 'previous';
  readonly fingerprint: string;
  readonly certPem: string;
  readonly subject: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Its key is elsewhere. */
  readonly offline: boolean;
}

/** What clients and listeners trust. */
export interface TrustBundle {
  readonly version: number;
  /** The current one first. */
  readonly roots: readonly TrustedRoot[];
  /** In PEM. */
  readonly endorsements: readonly string[];
  /** The roots in PEM: what a client trusts. */
  readonly rootsPem: string;
  /** What is published: the roots, then what they have signed of other CAs, endorsements first. */
  readonly pem: string;
  /** The roots and the intermediates in PEM: what agents' certificates are verified by. */
  readonly clientCaPem: string;
  /** The key identifiers, in hex, of every CA whose certificates are accepted. */
  readonly issuers: ReadonlySet<string>;
  /** … and of those that stand for the current root. */
  readonly currentIssuers: ReadonlySet<string>;
}

export function trustOf({ record, current, next, previous }: CaState): TrustBundle {
  const roots = [
    toRoot('current', current),
    ...(next === undefined ? [] : [toRoot('next', next)]),
    ...(previous === undefined ? [] : [toRoot('previous', previous)]),
  ];
  const rootsPem = roots.map(({ certPem }) => certPem).join('');
  const inUse = [current, next, previous].filter((ca) => ca?.isIntermediate).map((ca) => ca?.certPem ?? '');
  const intermediates = [...inUse, ...record.intermediates];
  const keys = (pems: readonly string[]) =>
    pems.map((pem) => subjectKeyIdentifier(readCertificate(pem)).toString('hex'));
  const currentRoot = readCertificate(current.rootPem);
  const below = intermediates.filter((pem) => readCertificate(pem).checkIssued(currentRoot));
  return {
    version: record.trustVersion,
    roots,
    endorsements: record.endorsements,
    rootsPem,
    pem: rootsPem + [...record.endorsements, ...intermediates].join(''),
    clientCaPem: rootsPem + intermediates.join(''),
    issuers: new Set(keys([...roots.map(({ certPem }) => certPem), ...intermediates])),
    currentIssuers: new Set(keys([current.rootPem, ...below])),
  };
}

function toRoot(role: TrustedRoot['role'], ca: Ca): TrustedRoot {
  const x509 = readCertificate(ca.rootPem);
  return {
    role,
    fingerprint: ca.fingerprint,
    certPem: ca.rootPem,
    subject: x509.subject.split('\n').join(', '),
    notBefore: x509.validFromDate,
    notAfter: x509.validToDate,
    offline: ca.isIntermediate,
  };
}
