/** What `status` tells: who this host is in the mesh, how long its certificate lasts, and whether a session stands. */
import { normalizeSerial } from '../../certs/serial.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { printable } from '../../shared/printable.ts';
import { embeddedReleaseKeys, embeddedSequence } from '../../shared/releases/embedded.ts';
import { readUpgradeRecord } from '../upgrade/journal.ts';
import { describeUpgrade, type UpgradeStatus, upgradeStatus } from '../upgrade/status.ts';
import { loadIdentity, readJournal } from './state-dir.ts';
import { type RunRecord, readRun, type TakenReleases } from './state-lock.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export interface AgentStatus {
  readonly enrolled: boolean;
  readonly stateDir: string;
  /** Whether a `run` process holds a session with the server now. */
  readonly connected: boolean;
  /** The `run` process, if there is one. */
  readonly run: RunRecord | null;
  /** Absent while the host is not enrolled. */
  readonly host?: {
    readonly id: string;
    readonly name: string;
    readonly server: string;
    readonly agentUrl: string;
    readonly caFingerprint: string;
    readonly enrolledAt: string;
  };
  readonly certificate?: {
    readonly serial: string;
    /** RFC 3339. */
    readonly notAfter: string;
    /** Whole days; negative once expired. */
    readonly daysLeft: number;
    /** Milliseconds; negative once expired. */
    readonly msLeft: number;
  };
  /** The release that is on its way here, or how the last one ended; absent: there was none. */
  readonly upgrade?: UpgradeStatus;
  /** Which releases may take the agent's place: of the agent that runs, or else those that this executable takes. */
  readonly releases?: TakenReleases & {
    /** Only releases with a higher one are taken; 0: any. */
    readonly sequence: number;
  };
  /** A new key is on its way to replace the one of `certificate`; absent while none is. */
  readonly renewal?: { readonly since: string; readonly issued: boolean };
}

/** Reads the state directory. @throws FairleadError VALIDATION when it cannot be read or is damaged */
export async function readStatus(stateDir: string, now: number): Promise<AgentStatus> {
  const run = readRun(stateDir) ?? null;
  const common = { stateDir, run, connected: run?.state === 'online' };
  try {
    const { record, certificate } = await loadIdentity(stateDir);
    const upgrades = await readUpgradeRecord(stateDir);
    const { hostId, name, server, agentUrl, caFingerprint, enrolledAt } = record;
    const notAfter = certificate.validToDate;
    const msLeft = notAfter.getTime() - now;
    const journal = await readJournal(stateDir);
    return {
      enrolled: true,
      ...common,
      host: { id: hostId, name, server, agentUrl, caFingerprint, enrolledAt },
      certificate: {
        serial: normalizeSerial(certificate.serialNumber),
        notAfter: notAfter.toISOString(),
        daysLeft: Math.floor(msLeft / DAY_MS),
        msLeft,
      },
      releases: {
        ...(run?.releases ?? { keys: [...embeddedReleaseKeys().keys()] }),
        sequence: Math.max(embeddedSequence(), upgrades?.sequence ?? 0),
      },
      ...(upgrades && { upgrade: upgradeStatus(upgrades) }),
      ...(journal && { renewal: { since: journal.since, issued: journal.certPem !== undefined } }),
    };
  } catch (error) {
    if (isFairleadError(error, 'NOT_FOUND')) return { enrolled: false, ...common };
    throw error;
  }
}

/** The status for people. */
export function formatStatus(status: AgentStatus): string {
  const { host, certificate, renewal, upgrade, releases, run } = status;
  if (host === undefined || certificate === undefined) {
    return `not enrolled (no identity in ${status.stateDir}); run "fairlead-agent enroll"\n`;
  }
  const rows = [
    ['host', `${host.name} (${host.id})`],
    ['server', host.server],
    ['agent URL', host.agentUrl],
    ['CA', host.caFingerprint],
    ['certificate', `${certificate.serial}, until ${certificate.notAfter} (${lasting(certificate.msLeft)})`],
    ...(renewal === undefined ? [] : [['renewal', describeRenewal(renewal)]]),
    ...(upgrade === undefined ? [] : describeUpgrade(upgrade)),
    ...(releases === undefined ? [] : [['releases', describeReleases(releases)]]),
    ...(run?.renewsAt === undefined ? [] : [['renews', `on ${run.renewsAt}`]]),
    ...(run?.docker === undefined ? [] : [['Docker', describeDocker(run.docker)]]),
    ['session', run === null ? 'no agent runs here' : describeRun(run)],
  ];
  return rows.map(([label = '', value = '']) => `${label.padEnd(13)}${printable(value)}\n`).join('');
}

function describeRenewal({ since, issued }: NonNullable<AgentStatus['renewal']>): string {
  return `pending since ${since}: ${issued ? 'issued, and not used yet' : 'a key was made'}`;
}

function describeReleases({ keys, sequence, inability }: NonNullable<AgentStatus['releases']>): string {
  const signed = keys.length === 0 ? 'no key is known' : `signed by ${keys.join(' or ')}`;
  return `${signed}, sequence above ${sequence}${inability === undefined ? '' : `; not taken: ${inability}`}`;
}

/** In days, or what is smaller where there is no whole one: certificates may live for minutes. */
function lasting(ms: number): string {
  if (ms <= 0) return 'expired';
  const [unitMs, name] = ms >= DAY_MS ? [DAY_MS, 'day'] : ms >= HOUR_MS ? [HOUR_MS, 'hour'] : [MINUTE_MS, 'minute'];
  const count = Math.floor(ms / unitMs);
  return `${count} ${name}${count === 1 ? '' : 's'} left`;
}

function describeDocker({ reachable, version, reason }: NonNullable<RunRecord['docker']>): string {
  if (reachable) return version ?? 'reachable';
  return `not reachable${reason === undefined ? '' : `: ${reason}`}`;
}

function describeRun(run: RunRecord): string {
  const detail = run.detail === undefined ? '' : `: ${run.detail}`;
  const version = run.version === undefined ? '' : `, version ${run.version}`;
  return `${run.state} since ${run.since} (pid ${run.pid}${version})${detail}`;
}
