/** What lasts: the store, the CA, the audit log and backups, opened in the order in which they need each other. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Audit } from './audit/audit.ts';
import { AuditTrail } from './audit/audit-trail.ts';
import type { Authority } from './authority/authority.ts';
import { Backups } from './backup/backups.ts';
import { recordRestore } from './backup/restore-note.ts';
import { openAuthority } from './ca.ts';
import { readAuditWebhook } from './config.ts';
import { JournalWatch } from './hosts/journal-watch.ts';
import { type PartOptions, RUNTIME_FILE } from './parts.ts';
import { openStore, type Store } from './store/store.ts';

/** Rows of the audit log outside of transactions are written at most this often, in ms. */
const AUDIT_WRITE_MS = 20;

export interface Records {
  readonly store: Store;
  readonly authority: Authority;
  readonly audit: Audit;
  readonly auditTrail: AuditTrail;
  readonly backups: Backups;
}

/** @param names under which the server is reached. @throws FairleadError with one clear sentence */
export async function openRecords(options: PartOptions, names: readonly string[]): Promise<Records> {
  const { config, clock, log, random, closers } = options;
  const store = await openStore({ dataDir: config.dataDir, clock });
  closers.push(() => store.close());
  if (store.upgrade !== undefined) log.info(store.upgrade, 'the store was brought to the schema of this version');
  // What a server that was killed left behind would lead its readers astray.
  await rm(join(config.dataDir, RUNTIME_FILE), { force: true });
  // An older database is told of what was revoked since before the list of active serials is made of it.
  const journal = await JournalWatch.open({ store, clock, log });
  const audit = new Audit({ store, clock, log, writeIntervalMs: AUDIT_WRITE_MS });
  const authority = await openAuthority(options, store, audit, names);
  closers.push(() => authority.close());

  const { keepMs, file } = config.audit;
  const policy = { keepMs, file, webhook: await readAuditWebhook(config) };
  const auditTrail = await AuditTrail.open({ store, audit, authority, policy, clock, log, random });
  closers.push(() => auditTrail.close());
  closers.push(authority.onChange(() => auditTrail.sign()));
  await journal.report(audit);
  await recordRestore(store, audit);

  const backups = new Backups({ store, authority, clock, log });
  closers.push(() => backups.close());
  return { store, authority, audit, auditTrail, backups };
}
