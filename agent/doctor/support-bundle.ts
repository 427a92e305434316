/** `fairlead-agent support-bundle`: how this host is, without secrets, in one file for whoever helps. */
import { open } from 'node:fs/promises';
import { release, totalmem, uptime } from 'node:os';
import { join } from 'node:path';
import { type Check, formatChecks } from '../../shared/doctor/check.ts';
import { type BundleFile, json, supportBundle } from '../../shared/doctor/support-bundle.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { COMMIT, VERSION } from '../../shared/version.ts';
import { readRecord } from '../identity/state-dir.ts';
import { formatStatus, readStatus } from '../identity/status.ts';
import { askDocker } from './docker-checks.ts';
import { type DoctorOptions, examineHost } from './doctor.ts';
import type { ServerCheckDeps } from './server-checks.ts';

/** Of Docker's own word on itself, what says how it is and names nobody. */
const DOCKER_FIELDS: ReadonlySet<string> = new Set([
  ...['ServerVersion', 'Driver', 'LoggingDriver', 'CgroupDriver', 'CgroupVersion', 'KernelVersion', 'OperatingSystem'],
  ...['OSType', 'Architecture', 'NCPU', 'MemTotal', 'Containers', 'ContainersRunning', 'Images', 'LiveRestoreEnabled'],
  ...['DefaultRuntime', 'SecurityOptions', 'Warnings', 'ExperimentalBuild', 'Debug', 'SystemTime'],
]);

/**
 * Writes the bundle to `out` (mode 0600), which must not be there.
 * @returns the names of the files in it
 * @throws FairleadError VALIDATION if it cannot be written
 */
export async function writeSupportBundle(
  out: string,
  options: DoctorOptions,
  deps: ServerCheckDeps,
): Promise<string[]> {
  const checks = await examineHost(options, deps);
  const files = await filesOf(checks, options, deps.now());
  await writeNew(out, supportBundle(`fairlead-agent ${VERSION}`, files, deps.now()));
  return files.map(({ name }) => name);
}

async function filesOf(
  checks: readonly Check[],
  { stateDir, docker }: DoctorOptions,
  now: number,
): Promise<BundleFile[]> {
  const versions = {
    version: VERSION,
    commit: COMMIT,
    node: process.version,
    platform: process.platform,
    arch: process.arch,
  };
  const machine = { kernel: release(), memoryBytes: totalmem(), upSeconds: Math.floor(uptime()) };
  return [
    { name: 'doctor.txt', about: 'what `fairlead-agent doctor` says', text: formatChecks(checks) },
    { name: 'doctor.json', about: 'the same for programs', text: json(checks) },
    ...(await orReason('status', 'what `fairlead-agent status` says', async () => {
      const status = await readStatus(stateDir, now);
      return `${formatStatus(status)}\n${json(status)}`;
    })),
    ...(await orReason('policy', 'what agent.json allows and denies', async () => {
      const { allow = [], deny = [] } = (await readRecord(stateDir)) ?? {};
      return json({ file: join(stateDir, 'agent.json'), allow, deny });
    })),
    { name: 'versions.json', about: 'the agent and the machine', text: json({ ...versions, ...machine }) },
    ...(await orReason('docker', 'what Docker says of itself, in part', async () => json(await dockerFacts(docker)))),
  ];
}

/** A file, or one that says why it is not there. */
async function orReason(name: string, about: string, text: () => Promise<string>): Promise<BundleFile[]> {
  try {
    return [{ name: `${name}.txt`, about, text: await text() }];
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return [{ name: `${name}.txt`, about, text: `${error.message} (${error.code})\n` }];
  }
}

async function dockerFacts(address: string): Promise<Record<string, unknown>> {
  const info = await askDocker(address, '/info');
  return Object.fromEntries(Object.entries(info).filter(([name]) => DOCKER_FIELDS.has(name)));
}

async function writeNew(out: string, bytes: Buffer): Promise<void> {
  try {
    const file = await open(out, 'wx', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === 'EEXIST' ? 'is there already: choose another --out' : `cannot be written (${code})`;
    throw new FairleadError('VALIDATION', `${out} ${why}`, { cause });
  }
}
