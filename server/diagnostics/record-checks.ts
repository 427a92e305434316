/** What is to be said of the store, its disk, backups and the audit log. */
import { join } from 'node:path';
import { type Check, count, fail, named, ok, warn } from '../../shared/doctor/check.ts';
import { diskCheck, sizeText } from '../../shared/doctor/disk.ts';
import { toWireError } from '../../shared/errors.ts';
import { storeFigures } from '../store/figures.ts';
import { SCHEMA_VERSION } from '../store/migrate.ts';
import { DATABASE_FILE } from '../store/store.ts';
import type { DiagnosticParts } from './parts.ts';

const DAY_MS = 24 * 60 * 60_000;
const BACKUP_WARN_DAYS = 7;
/** A receiver this far behind does not keep up. */
const FORWARD_WARN_MS = 10 * 60_000;
/** The head is signed once a minute, if there is anything new. */
const QUEUE_WARN_ROWS = 10_000;

export async function recordChecks(parts: DiagnosticParts, now: number): Promise<Check[]> {
  const { config } = parts;
  return [
    await store(parts),
    await diskCheck('disk', 'the data directory', config.dataDir),
    await backup(parts, now),
    chain(parts),
    ...(await forwarding(parts)),
    await hooks(parts),
    await recoveries(parts),
  ];
}

async function store({ store: it, config }: DiagnosticParts): Promise<Check> {
  try {
    await it.check();
    const { bytes, freeBytes } = await storeFigures(it.db, join(config.dataDir, DATABASE_FILE));
    const free = freeBytes === 0 ? '' : `, of which ${sizeText(freeBytes)} wait to be used again`;
    return ok('store', `the store can be written; schema version ${SCHEMA_VERSION}, ${sizeText(bytes)}${free}`);
  } catch (error) {
    const { code, message } = toWireError(error);
    return fail('store', `${message} (${code})`, 'free space on its disk, or see the log of the server');
  }
}

async function backup({ store: it }: DiagnosticParts, now: number): Promise<Check> {
  const { items } = await it.audit.list({ limit: 1 }, { action: 'backup.create', result: 'ok' });
  const advice = 'make one: `fairlead backup --out FILE --passphrase-file F`, and keep it on another machine';
  const [last] = items;
  if (last === undefined) return warn('backup', 'no backup stands in the audit log', advice);
  const days = Math.floor((now - last.at) / DAY_MS);
  const summary = `the last backup was begun on ${new Date(last.at).toISOString()}, by ${last.actor}`;
  return days <= BACKUP_WARN_DAYS ? ok('backup', summary) : warn('backup', `${summary}, ${days} days ago`, advice);
}

function chain({ auditTrail: { isIntact, signedAt, queuedRows } }: DiagnosticParts): Check {
  if (!isIntact) {
    return fail(
      'audit',
      'the audit log is not what was signed: rows were changed or are missing',
      '`fairlead audit --verify` names the first of them; after the restore of an older backup that is to be expected',
    );
  }
  const signed = signedAt === undefined ? 'never signed yet' : `signed last on ${new Date(signedAt).toISOString()}`;
  const summary = `the audit log is whole as far as it was looked at, and ${signed}`;
  if (queuedRows < QUEUE_WARN_ROWS) return ok('audit', summary);
  return warn(
    'audit',
    `${count(queuedRows, 'row')} of the audit log wait to be written`,
    'see the checks of store and disk',
  );
}

async function forwarding({ auditTrail: { forwarders } }: DiagnosticParts): Promise<Check[]> {
  const checks: Check[] = [];
  for (const forwarder of forwarders) {
    const { rows, ms } = await forwarder.lag();
    // The rest of its name is a path or a host.
    const [kind = ''] = forwarder.name.split(':');
    const id = `audit.${kind}`;
    const summary = `the ${kind} that gets the audit log is ${count(rows, 'row')} behind`;
    const advice = 'see the log of the server for why it does not take them; --audit-file, --audit-webhook';
    checks.push(ms < FORWARD_WARN_MS ? ok(id, summary) : warn(id, summary, advice));
  }
  return checks;
}

async function hooks({ webhooks }: DiagnosticParts): Promise<Check> {
  const { items } = await webhooks.list({});
  const failing = items.filter(({ state }) => state === 'failing');
  if (failing.length === 0) return ok('webhooks', `${count(items.length, 'webhook')}, none is failing`);
  const names = named(failing.map(({ id, name }) => name ?? id));
  return warn('webhooks', `webhooks are not taken by their receivers: ${names}`, '`fairlead webhook ls` says why');
}

async function recoveries({ recovery }: DiagnosticParts): Promise<Check> {
  const pending = (await recovery.list({})).items.filter(({ state }) => state === 'pending');
  if (pending.length === 0) return ok('recoveries', 'no host waits for an approval');
  const names = named(pending.map(({ hostName, hostId }) => hostName ?? hostId));
  return warn(
    'recoveries',
    `waiting to be let in again: ${names}`,
    '`fairlead host approve HOST`, or `host deny HOST`',
  );
}
