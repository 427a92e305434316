/**
 * The life of the CA as steps from one record to the next. Nothing is done here: each step says what the record is to be,
 * or why it cannot be taken now.
 */
import { isSignedBy } from '../../certs/endorsement.ts';
import { readCertificate } from '../../certs/pem.ts';
import { pinOfSpki, spkiOf, spkiPin } from '../../certs/pin.ts';
import { FairleadError } from '../../shared/errors.ts';
import { type CaEntry, type CaRecord, entriesOf, type Phase } from './ca-record.ts';

/** What is to be done where another phase was expected. */
const ADVICE: Record<Phase, string> = {
  stable: 'no rotation is in progress: begin one with "fairlead ca rotate"',
  published: 'a new root is published: activate it with "fairlead ca rotate --activate", or drop it with --abort',
  activated: 'a new root is active: retire the old one with "fairlead ca rotate --retire", or go back with --abort',
};

/** @throws FairleadError CONFLICT that says what to do instead */
export function requirePhase(record: CaRecord, phase: Phase): void {
  if (record.phase !== phase) throw new FairleadError('CONFLICT', ADVICE[record.phase]);
}

/** stable → published. `endorsement` is that of the next root by the current one. @throws FairleadError CONFLICT */
export function publish(record: CaRecord, next: CaEntry, endorsement: string): CaRecord {
  requirePhase(record, 'stable');
  const { request: _, ...rest } = record;
  // The request's key is the one of `next` by now, or no longer asked for.
  return told({ ...rest, phase: 'published', next, endorsements: [endorsement] });
}

/** published → activated. @throws FairleadError CONFLICT */
export function activate(record: CaRecord): CaRecord {
  requirePhase(record, 'published');
  const { next, current, ...rest } = record;
  if (next === undefined) throw new Error('a published CA has a next root');
  const pin = spkiPin(next.root);
  // A way back from the new root is only there while the old one issues.
  const endorsements = record.endorsements.filter((pem) => spkiPin(pem) === pin);
  return told({ ...rest, phase: 'activated', current: next, previous: current, endorsements });
}

/** activated → stable. Nothing of the previous root is left. @throws FairleadError CONFLICT */
export function retire(record: CaRecord): CaRecord {
  requirePhase(record, 'activated');
  const { previous: _, ...rest } = record;
  return told({ ...rest, phase: 'stable', endorsements: [] });
}

/**
 * One step back: activated → published, published → stable.
 * @param back the endorsement of the previous root by the current one, for those who know the current one alone
 * @throws FairleadError CONFLICT
 */
export function abort(record: CaRecord, back?: string): CaRecord {
  const { current, next: _, previous, ...rest } = record;
  if (record.phase === 'stable') throw new FairleadError('CONFLICT', ADVICE.stable);
  if (previous === undefined) return told({ ...rest, current, phase: 'stable', endorsements: [] });
  const endorsements = [...record.endorsements, ...(back === undefined ? [] : [back])];
  return told({ ...rest, phase: 'published', current: previous, next: current, endorsements });
}

/**
 * A new intermediate below the current root: nobody needs to be told, since the root is the same.
 * @param now ms since 1970
 * @throws FairleadError CONFLICT
 */
export function renewIntermediate(record: CaRecord, current: CaEntry, now: number): CaRecord {
  requirePhase(record, 'stable');
  const { request: _, ...rest } = record;
  // The one of before stays also if it has expired: what it has signed is still to be signed anew.
  const before = record.current.intermediate;
  const others = record.intermediates.filter((pem) => readCertificate(pem).validToDate.getTime() > now);
  const intermediates = [...(before === undefined ? [] : [before]), ...others];
  return { ...rest, current, intermediates: intermediates.slice(0, 8) };
}

/** The record with its trust counted as another one, and without intermediates whose root is gone. */
function told(record: CaRecord): CaRecord {
  const roots = entriesOf(record).map(({ root }) => readCertificate(root));
  const intermediates = record.intermediates.filter((pem) =>
    roots.some((root) => isSignedBy(readCertificate(pem), root)),
  );
  return { ...record, intermediates, trustVersion: record.trustVersion + 1 };
}

/** The pin of an entry's root. */
export function rootPin({ root }: CaEntry): string {
  return pinOfSpki(spkiOf(readCertificate(root).publicKey));
}
