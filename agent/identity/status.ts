/** What `status` tells: who this host is in the mesh, how long its certificate lasts, and whether a session stands. */
import { normalizeSerial } from '../../certs/serial.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { loadIdentity, readJournal } from './state-dir.ts';
import { type RunRecord, readRun } from './state-lock.ts';

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
  /** A new key is on its way to replace the one of `certificate`; absent while none is. */
  readonly renewal?: { readonly since: string; readonly issued: boolean };
}

/** Reads the state directory. @throws FairleadError VALIDATION when it cannot be read or is damaged */
export async function readStatus(stateDir: string, now: number): Promise<AgentStatus> {
  const run = readRun(stateDir) ?? null;
  const common = { stateDir, run, connected: run?.state === 'online' };
  try {
    const { record, certificate } = await loadIdentity(stateDir);
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
      ...(journal && { renewal: { since: journal.since, issued: journal.certPem !== undefined } }),
    };
  } catch (error) {
    if (isFairleadError(error, 'NOT_FOUND')) return { enrolled: false, ...common };
    throw error;
  }
}

/** The status for people. */
export function formatStatus(status: AgentStatus): string {
  const { host, certificate, renewal, run } = status;
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
    ['session', run === null ? 'no agent runs here' : describeRun(run)],
  ];
  return rows.map(([label = '', value = '']) => `${label.padEnd(13)}${value}\n`).join('');
}

function describeRenewal({ since, issued }: NonNullable<AgentStatus['renewal']>): string {
  return `pending since ${since}: ${issued ? 'issued, and not used yet' : 'a key was made'}`;
}

/** In days, or what is smaller where there is no whole one: certificates may live for minutes. */
function lasting(ms: number): string {
  if (ms <= 0) return 'expired';
  const [unitMs, name] = ms >= DAY_MS ? [DAY_MS, 'day'] : ms >= HOUR_MS ? [HOUR_MS, 'hour'] : [MINUTE_MS, 'minute'];
  const count = Math.floor(ms / unitMs);
  return `${count} ${name}${count === 1 ? '' : 's'} left`;
}

function describeRun(run: RunRecord): string {
  const detail = run.detail === undefined ? '' : `: ${run.detail}`;
  return `${run.state} since ${run.since} (pid ${run.pid})${detail}`;
}
