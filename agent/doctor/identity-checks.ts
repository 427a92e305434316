/** Whether this host is enrolled, by what, and which agent works with it. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { rootsIn } from '../../certs/trust.ts';
import { type Check, fail, named, ok, warn } from '../../shared/doctor/check.ts';
import { type Identity, KEY_FILE, readJournal } from '../identity/state-dir.ts';
import { readRun } from '../identity/state-lock.ts';
import { readUpgradeRecord } from '../upgrade/journal.ts';
import { upgradeStatus } from '../upgrade/status.ts';

const DAY_MS = 24 * 60 * 60_000;
const OTHERS = 0o077;
/** The root is rotated in time, unless nobody does it. */
const ROOT_WARN_DAYS = 60;
/** A renewal takes seconds. */
const RENEWAL_WARN_MS = DAY_MS;

/** @param now ms since 1970 */
export async function identityChecks(stateDir: string, identity: Identity, now: number): Promise<Check[]> {
  const { record } = identity;
  return [
    ok('enrolled', `this host is ${record.name} (${record.hostId}) at ${record.server}`),
    await modeCheck(stateDir),
    certificateCheck(identity, now),
    rootCheck(identity, now),
    ...(await renewalCheck(stateDir, now)),
    ...(await upgradeCheck(stateDir)),
  ];
}

async function modeCheck(stateDir: string): Promise<Check> {
  const open: string[] = [];
  for (const path of [stateDir, join(stateDir, KEY_FILE)]) {
    if (((await stat(path)).mode & OTHERS) !== 0) open.push(path);
  }
  if (open.length === 0) return ok('modes', `nobody but its owner can read the key in ${stateDir}`);
  return warn(
    'modes',
    `others can read ${named(open)}`,
    `chmod 700 ${stateDir}; chmod 600 ${join(stateDir, KEY_FILE)}`,
  );
}

function certificateCheck({ certificate }: Identity, now: number): Check {
  const left = certificate.validToDate.getTime() - now;
  const until = certificate.validToDate.toISOString();
  if (left <= 0) {
    return fail(
      'certificate',
      `the certificate of this host expired on ${until}`,
      'the agent asks for a new one when it runs: approve it on the server with `fairlead host approve`',
    );
  }
  if (certificate.validFromDate.getTime() > now) {
    return fail(
      'certificate',
      `the certificate counts from ${certificate.validFrom} only`,
      'set the clock of this machine',
    );
  }
  return ok('certificate', `the certificate is valid until ${until}; it renews itself before`);
}

function rootCheck({ caPem }: Identity, now: number): Check {
  const ends = rootsIn(caPem).map(({ x509 }) => x509.validToDate.getTime());
  const last = Math.max(...ends);
  const summary = `${ends.length === 1 ? 'the root' : `${ends.length} roots`} in ca.pem, valid until ${new Date(last).toISOString()}`;
  if (last <= now) return fail('ca', `${summary}: expired`, 'enroll this host again, once the server has another root');
  if (last - now > ROOT_WARN_DAYS * DAY_MS) return ok('ca', summary);
  return warn('ca', summary, 'have the root rotated on the server: `fairlead ca rotate`');
}

async function renewalCheck(stateDir: string, now: number): Promise<Check[]> {
  const journal = await readJournal(stateDir);
  if (journal === undefined || now - Date.parse(journal.since) < RENEWAL_WARN_MS) return [];
  const summary = `a renewal of the certificate has been under way since ${journal.since}`;
  return [warn('renewal', summary, 'look into the log of the agent for why the server does not answer it')];
}

/** @returns nothing where none was ever begun */
async function upgradeCheck(stateDir: string): Promise<Check[]> {
  const record = await readUpgradeRecord(stateDir);
  const { state, version, detail } = record === undefined ? { state: 'none' as const } : upgradeStatus(record);
  if (state === 'none') return [];
  const summary = `the last upgrade, to version ${version}: ${state}${detail === undefined ? '' : `, ${detail}`}`;
  if (state !== 'failed' && state !== 'refused') return [ok('upgrade', summary)];
  return [
    warn(
      'upgrade',
      summary,
      'mend what it says, then offer a release with a higher sequence: `fairlead agent upgrade`',
    ),
  ];
}

/** Whether the agent that runs can replace itself. @returns nothing where none runs, or one that does not say */
export function upgradesCheck(stateDir: string): Check[] {
  const releases = readRun(stateDir)?.releases;
  if (releases === undefined) return [];
  const { keys, inability } = releases;
  if (inability === undefined) return [ok('upgrades', `the agent takes releases that are signed by ${named(keys)}`)];
  return [
    warn(
      'upgrades',
      `the agent cannot be upgraded from the server: ${inability}`,
      'if it shall be, mend that; else upgrade it here: install.sh --upgrade',
    ),
  ];
}

/** Which agent works in `stateDir`, and whether it is connected. */
export function runCheck(stateDir: string): Check {
  const run = readRun(stateDir);
  if (run === undefined) {
    return warn(
      'run',
      'no agent runs here',
      'start it (systemctl start fairlead-agent, or fairlead-agent run); after exit code 3 to 6 see server/TROUBLESHOOTING.md',
    );
  }
  const detail = run.detail === undefined ? '' : `: ${run.detail}`;
  const summary = `the agent (pid ${run.pid}) is ${run.state} since ${run.since}${detail}`;
  if (run.state === 'online') return ok('run', summary);
  if (run.state === 'recovering') {
    return warn(
      'run',
      summary,
      'an administrator has to let it in: `fairlead host recoveries`, `fairlead host approve`',
    );
  }
  return warn('run', summary, 'it tries again by itself; the checks of the way to the server say what stands in it');
}
