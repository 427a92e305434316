/** What a restore leaves in the store for the next start, which writes it into the audit log: by then it can. */
import Type, { type Static } from 'typebox';
import { fits } from '../../shared/validate.ts';
import type { Audit } from '../audit/audit.ts';
import type { Store } from '../store/store.ts';

const SETTING = 'backup.restored';

const RestoreNote = Type.Object({
  /** RFC 3339. */
  restoredAt: Type.String(),
  /** The user of the operating system. */
  restoredBy: Type.String(),
  backupCreatedAt: Type.String(),
  backupCreatedBy: Type.String(),
  backupVersion: Type.String(),
  /** Revocations that came from elsewhere than the backup. */
  journaledRevocations: Type.Integer(),
});
export type RestoreNote = Static<typeof RestoreNote>;

export function restoreNote(note: RestoreNote): { key: string; value: Uint8Array } {
  return { key: SETTING, value: Buffer.from(JSON.stringify(note)) };
}

/** Writes a restore into the audit log, once. @throws FairleadError STORE_FULL, STORE_UNAVAILABLE */
export async function recordRestore(store: Store, audit: Audit): Promise<void> {
  await store.transaction(async (tables) => {
    const value = await tables.settings.get(SETTING);
    if (value === undefined) return;
    const note: unknown = JSON.parse(value.toString('utf8'));
    const detail = fits(RestoreNote, note) ? note : {};
    await audit.record({ actor: 'system', action: 'backup.restore', result: 'ok', detail }, tables);
    await tables.settings.delete(SETTING);
  });
}
