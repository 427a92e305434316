/** What the build has put into this executable about releases of itself. */
import { type ReleaseKeys, readReleaseKeys } from './signature.ts';

/** PEM blocks, and a number. */
declare const FAIRLEAD_RELEASE_KEYS: string | undefined;
declare const FAIRLEAD_RELEASE_SEQUENCE: number | undefined;

/** By whose keys it takes releases. None where sources or bundles run as they are, or where the build was given no keys. */
export function embeddedReleaseKeys(): ReleaseKeys {
  return readReleaseKeys(typeof FAIRLEAD_RELEASE_KEYS === 'string' ? FAIRLEAD_RELEASE_KEYS : '', 'this executable');
}

/** The sequence of the release that it was built for: nothing up to it comes after it. 0: the build was given none. */
export function embeddedSequence(): number {
  return typeof FAIRLEAD_RELEASE_SEQUENCE === 'number' ? FAIRLEAD_RELEASE_SEQUENCE : 0;
}
