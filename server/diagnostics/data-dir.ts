/** What keeps a server from starting: a data directory is looked at as it lies there, and nothing in it is changed. */
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import Type from 'typebox';
import { type Check, fail, named, ok, warn } from '../../shared/doctor/check.ts';
import { diskCheck } from '../../shared/doctor/disk.ts';
import { isFairleadError, toWireError } from '../../shared/errors.ts';
import { fits } from '../../shared/validate.ts';
import { CA_SETTING, decodeRecord } from '../authority/ca-record.ts';
import { existingSeal } from '../authority/seal.ts';
import { parseListen, readCaPassphrase } from '../config.ts';
import { requireFree } from '../listen.ts';
import { RUNTIME_FILE } from '../parts.ts';
import { type InspectedStore, inspectStore, isLocked } from '../store/inspect.ts';
import { SCHEMA_VERSION } from '../store/migrate.ts';
import { DATABASE_FILE } from '../store/store.ts';

export interface DataDirOptions {
  /** Absolute. */
  readonly dataDir: string;
  readonly caPassphraseFile?: string;
  /** By the flags that set them. */
  readonly listen: Readonly<Record<string, string>>;
}

const Runtime = Type.Object({ pid: Type.Integer(), apiUrl: Type.String(), version: Type.String() });
const OTHERS = 0o077;
/** What nobody else may read. */
const PRIVATE: readonly string[] = [DATABASE_FILE, 'master.key', 'admin-token', 'fairlead.lock'];

/** Looks at everything once. Never rejects for what is wrong with the directory. */
export async function examineDataDir(options: DataDirOptions): Promise<Check[]> {
  const { dataDir } = options;
  const directory = await directoryCheck(dataDir);
  if (directory.level === 'fail') return [directory, ...(await portChecks(options))];
  const lock = lockOf(dataDir);
  const isHeld = lock === 'held';
  const inspected = await inspectStore(join(dataDir, DATABASE_FILE), dataDir);
  return [
    directory,
    await modeCheck(dataDir),
    await diskCheck('disk', 'the data directory', dataDir),
    await lockCheck(dataDir, lock),
    storeCheck(inspected),
    await caCheck(options, inspected),
    journalCheck(dataDir),
    ...(isHeld ? [] : await portChecks(options)),
  ];
}

async function directoryCheck(dataDir: string): Promise<Check> {
  try {
    const facts = await stat(dataDir);
    if (!facts.isDirectory()) return fail('data-dir', `${dataDir} is no directory`, 'choose another --data-dir');
    await readdir(dataDir);
    if (existsSync(join(dataDir, DATABASE_FILE))) return ok('data-dir', `${dataDir} is there and can be read`);
    const summary = `${dataDir} has no ${DATABASE_FILE}: a server that starts here makes a new installation`;
    return warn('data-dir', summary, 'if there is one already, give its own --data-dir');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      return fail(
        'data-dir',
        `there is no ${dataDir}`,
        'a server that starts makes it; for one that ran before, give its own',
      );
    }
    return fail('data-dir', `${dataDir} cannot be read: ${message}`, 'run this as root, or as the user of the server');
  }
}

async function modeCheck(dataDir: string): Promise<Check> {
  const open: string[] = [];
  if (((await stat(dataDir)).mode & OTHERS) !== 0) open.push('the directory');
  for (const name of PRIVATE) {
    const facts = await stat(join(dataDir, name)).catch(() => undefined);
    if (facts !== undefined && (facts.mode & OTHERS) !== 0) open.push(name);
  }
  if (open.length === 0) return ok('modes', 'nobody but its owner can read what is secret in it');
  return warn('modes', `others can read ${named(open)}`, `chmod 700 ${dataDir}, and 600 for its files`);
}

type Lock = 'held' | 'free' | { readonly unreadable: string };

function lockOf(dataDir: string): Lock {
  try {
    return isLocked(dataDir) ? 'held' : 'free';
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return { unreadable: error.message };
  }
}

async function lockCheck(dataDir: string, lock: Lock): Promise<Check> {
  if (typeof lock === 'object') return fail('lock', lock.unreadable, 'run this as root, or as the user of the server');
  if (lock === 'free') return ok('lock', 'no server runs on it');
  const runtime = await readRuntime(dataDir);
  const who =
    runtime === undefined ? 'a server' : `fairlead-server ${runtime.version} (pid ${runtime.pid}, ${runtime.apiUrl})`;
  return warn(
    'lock',
    `${who} runs on it now`,
    'no second one starts; to ask the one that runs, use `fairlead doctor` without --data-dir',
  );
}

async function readRuntime(dataDir: string): Promise<Type.Static<typeof Runtime> | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(join(dataDir, RUNTIME_FILE), 'utf8'));
    return fits(Runtime, value) ? value : undefined;
  } catch {
    // Not ready yet, or half gone: that it runs is known by the lock.
    return undefined;
  }
}

function storeCheck({ state, problem }: InspectedStore): Check {
  if (problem !== undefined) {
    return fail(
      'store',
      problem.message,
      'see "Stopping and upgrading" and "Backup and restore" in server/OPERATIONS.md',
    );
  }
  const { schemaVersion, writer } = state;
  if (schemaVersion === 0) return ok('store', 'there is no store yet');
  const by = writer === undefined ? '' : `, used last by fairlead-server ${writer}`;
  const next = schemaVersion < SCHEMA_VERSION ? `; the next start copies it and brings it to ${SCHEMA_VERSION}` : '';
  return ok('store', `the store is whole, of schema version ${schemaVersion}${by}${next}`);
}

async function caCheck(
  { dataDir, caPassphraseFile }: DataDirOptions,
  { settings, problem }: InspectedStore,
): Promise<Check> {
  const value = settings?.(CA_SETTING);
  if (value === undefined && problem !== undefined) {
    return warn('ca', 'the keys of the CA were not looked at: the store cannot be used', 'see to the store first');
  }
  if (value === undefined) return ok('ca', 'there is no certificate authority yet: the first start makes one');
  try {
    const { sealedKey } = decodeRecord(value).current;
    const passphrase = await readCaPassphrase({ caPassphraseFile });
    const seal = await existingSeal(sealedKey, { dataDir, passphrase });
    await seal.unseal(sealedKey);
    return ok('ca', `the keys of the CA open by ${seal.kind === 'passphrase' ? 'that passphrase' : 'master.key'}`);
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return fail(
      'ca',
      error.message,
      'give what the keys rest under, with --ca-passphrase-file here and at the start, or none',
    );
  }
}

function journalCheck(dataDir: string): Check {
  if (existsSync(join(dataDir, 'revoked.ndjson'))) return ok('journal', 'the journal of what was revoked is there');
  return warn(
    'journal',
    'there is no revoked.ndjson',
    'the next start makes it of what the database knows; put back your own if you have it',
  );
}

async function portChecks({ listen }: DataDirOptions): Promise<Check[]> {
  const checks: Check[] = [];
  for (const [flag, address] of Object.entries(listen)) {
    const id = `port.${flag.slice(2)}`;
    try {
      await requireFree(flag, parseListen(flag, address));
      checks.push(ok(id, `${address} is free`));
    } catch (error) {
      checks.push(fail(id, toWireError(error).message, '`ss -ltnp` shows which program listens there'));
    }
  }
  return checks;
}
