/** What `npm start` prints once all is running. */
import type { ContainerSummary, HostView } from '../../server/cli/api-types.ts';
import { CONTAINER_COLUMNS } from '../../server/cli/containers.ts';
import { facts, table } from '../../server/cli/table.ts';
import { printable } from '../../shared/printable.ts';

export interface FirstHost {
  readonly view: HostView;
  /** Undefined if they could not be listed. */
  readonly containers: readonly ContainerSummary[] | undefined;
  /** Why they could not be listed. */
  readonly problem?: string;
}

export interface Report {
  readonly version: string;
  readonly apiUrl: string;
  readonly agentUrl: string;
  readonly caFingerprint: string;
  readonly tokenFile: string;
  /** Undefined if there is no API token to ask with; then `problem` says so. */
  readonly host: FirstHost | undefined;
  readonly problem?: string;
}

/** The whole report. */
export function reportText(report: Report): string {
  return [
    `\nFairlead ${report.version} is running.\n`,
    facts([
      ['API', report.apiUrl],
      ['Agents connect to', report.agentUrl],
      ['CA fingerprint', report.caFingerprint],
      ['Admin token', report.tokenFile],
    ]),
    report.host === undefined ? `${report.problem ?? ''}\n` : hostText(report.host),
    nextHostText(report),
    "Ctrl-C stops the server and this machine's agent.\n",
  ].join('\n');
}

function hostText({ view, containers, problem }: FirstHost): string {
  const docker = view.docker?.reachable ? `Docker ${view.docker.version ?? ''}`.trim() : 'Docker is not reachable';
  const reason = view.docker?.reachable || !view.docker?.reason ? '' : `: ${printable(view.docker.reason)}`;
  const head = `This machine is the host ${view.name}: ${view.state}, ${docker}${reason}\n`;
  if (containers === undefined) return problem === undefined ? head : `${head}${printable(problem)}\n`;
  if (containers.length === 0) return `${head}It has no containers yet.\n`;
  return `${head}\n${table(containers, CONTAINER_COLUMNS)}`;
}

function nextHostText({ apiUrl, tokenFile }: Report): string {
  const cli = `npm run --silent cli -- --server ${apiUrl} --api-token-file ${quote(tokenFile)}`;
  const local = isLoopback(apiUrl)
    ? ['This server listens on this machine only; for hosts elsewhere give it --api-listen and --agent-listen.']
    : [];
  return [
    ...local,
    `To enroll the next host, which must reach ${apiUrl} (another name or address: npm start -- --public-host NAME),`,
    'have its executable made, once, and get a line to paste there:',
    '  npm run build:agent',
    `  ${cli} token create`,
    `Where fairlead-agent is already, the token alone is needed: fairlead-agent enroll --server ${apiUrl} --token -`,
    '',
  ].join('\n');
}

/** `path` as a POSIX shell reads it. */
function quote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

function isLoopback(url: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(url).hostname);
}
