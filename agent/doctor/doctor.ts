/** `fairlead-agent doctor`: what is well on this host and what is not, and what to do about it. */
import { readFileSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Check, fail, ok, warn } from '../../shared/doctor/check.ts';
import { diskCheck } from '../../shared/doctor/disk.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { VERSION } from '../../shared/version.ts';
import { DEFAULT_STATE_DIR } from '../config.ts';
import { type Identity, loadIdentity } from '../identity/state-dir.ts';
import { readRun } from '../identity/state-lock.ts';
import { dockerChecks } from './docker-checks.ts';
import { identityChecks, runCheck, upgradesCheck } from './identity-checks.ts';
import { type ServerCheckDeps, serverChecks } from './server-checks.ts';

/** An agent writes little. */
const SHORT_BYTES = 256 * 1024 * 1024;

export interface DoctorOptions {
  /** Absolute. */
  readonly stateDir: string;
  /** As --docker takes it. */
  readonly docker: string;
}

/** Looks at everything once. @throws FairleadError VALIDATION for an address of Docker that is none */
export async function examineHost(options: DoctorOptions, deps: ServerCheckDeps): Promise<Check[]> {
  const { stateDir, docker } = options;
  const identity = await identityOf(stateDir);
  return [
    versionCheck(),
    ...('check' in identity ? [identity.check] : await identityChecks(stateDir, identity.identity, deps.now())),
    runCheck(stateDir),
    ...upgradesCheck(stateDir),
    ...userCheck(stateDir),
    ...('check' in identity ? [] : await serverChecks(identity.identity, deps)),
    ...(await dockerChecks(docker)),
    ...('check' in identity
      ? []
      : [await diskCheck('disk.state', 'the state directory', stateDir, { shortBytes: SHORT_BYTES })]),
    await executableDisk(),
  ];
}

function versionCheck(): Check {
  return ok('agent', `fairlead-agent ${VERSION} on Node.js ${process.version}, ${process.platform} ${process.arch}`);
}

async function identityOf(stateDir: string): Promise<{ identity: Identity } | { check: Check }> {
  try {
    return { identity: await loadIdentity(stateDir) };
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    const advice =
      error.code === 'NOT_FOUND'
        ? 'enroll it: make a token on the server (`fairlead token create`) and run what that prints here; or give --state-dir'
        : "run this as the user of the agent and not as root: su -s /bin/sh fairlead-agent -c 'fairlead-agent doctor'; what is damaged has to be enrolled anew";
    return { check: fail('enrolled', error.message, advice) };
  }
}

/** What this user may do is only what the agent may if it is the same one. */
function userCheck(stateDir: string): Check[] {
  const run = readRun(stateDir);
  const own = process.geteuid?.();
  const other = run === undefined ? undefined : userOf(run.pid);
  if (run === undefined || own === undefined || other === undefined || own === other) return [];
  return [
    warn(
      'user',
      `the agent (pid ${run.pid}) runs as user ${other}, and this as ${own}: who may use Docker is looked at for the latter`,
      `run this as the user of the agent: setpriv --reuid ${other} --init-groups fairlead-agent doctor${stateFlag(stateDir)}`,
    ),
  ];
}

/** Where Docker and the proxy are, the next doctor finds out as this one has. */
function stateFlag(stateDir: string): string {
  return stateDir === DEFAULT_STATE_DIR ? '' : ` --state-dir ${stateDir}`;
}

/** The effective user of a process; undefined where the system does not say. */
function userOf(pid: number): number | undefined {
  try {
    const [, id] = /^Uid:\s+\d+\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return id === undefined ? undefined : Number(id);
  } catch {
    // It has just ended, or there is no /proc: then there is nothing to compare.
    return undefined;
  }
}

async function executableDisk(): Promise<Check> {
  const directory = dirname(realpathSync(process.execPath));
  return await diskCheck('disk.executable', 'the executable', directory, { shortBytes: SHORT_BYTES });
}
