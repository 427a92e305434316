/** Whether a release that a server offers is one that this host takes. Pure. */
import { FairleadError } from '../../shared/errors.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import { type ReleaseKeys, verifyRelease } from '../../shared/releases/signature.ts';
import { compareVersions } from '../../shared/releases/version-order.ts';
import type { UpgradeRecord } from './journal.ts';

/** What an offer is held against. */
export interface OfferContext {
  readonly keys: ReleaseKeys;
  /** By the names that Node has for systems and architectures. */
  readonly os: string;
  readonly arch: string;
  /** That runs now. */
  readonly version: string;
  readonly record: Pick<UpgradeRecord, 'sequence' | 'refused'>;
}

/**
 * The signature comes first: nothing that an unsigned offer says is looked at.
 * @throws FairleadError RELEASE_INVALID (not signed by a key of this host's), UNSUPPORTED (for another platform), CONFLICT
 */
export function checkOffer(release: SignedRelease, { keys, os, arch, version, record }: OfferContext): void {
  verifyRelease(release, keys);
  if (release.os !== os || release.arch !== arch) {
    const text = `the release is for ${release.os}/${release.arch}, and this host is ${os}/${arch}`;
    throw new FairleadError('UNSUPPORTED', text);
  }
  const failed = record.refused.find(({ sequence }) => sequence === release.sequence);
  if (failed !== undefined) {
    throw conflict(`the release ${release.version} has failed here and is not tried again: ${failed.detail}`);
  }
  if (release.sequence <= record.sequence) {
    throw conflict(`its sequence ${release.sequence} is not above ${record.sequence}, which has run here`);
  }
  if (release.downgrade !== true && compareVersions(release.version, version) <= 0) {
    throw conflict(
      `${release.version} is not newer than ${version}, which runs here, and is not signed as a downgrade`,
    );
  }
}

function conflict(text: string): FairleadError {
  return new FairleadError('CONFLICT', text);
}
