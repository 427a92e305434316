/** What goes into the support bundle of a server: each part by a choice of fields, never as it comes. */
import { type Check, formatChecks } from '../../../shared/doctor/check.ts';
import { type BundleFile, json, ndjson } from '../../../shared/doctor/support-bundle.ts';
import { VERSION } from '../../../shared/version.ts';
import type { ApiClient } from '../api-client.ts';
import type { HostView } from '../api-types.ts';
import { describeError } from '../errors.ts';
import { read } from '../whole-text.ts';

/** Of events and of the audit log, the newest. */
const MAX_ROWS = 500;
const MAX_HOSTS = 10_000;
const MAX_ROLLOUTS = 50;

type Row = Readonly<Record<string, unknown>>;

interface Part {
  readonly name: string;
  readonly about: string;
  make(api: ApiClient): Promise<string>;
}

const PARTS: readonly Part[] = [
  { name: 'ready.json', about: 'GET /readyz', make: async (api) => json(await api.get('/readyz')) },
  { name: 'hosts.json', about: 'hosts: versions, states, Docker, policies', make: hosts },
  { name: 'releases.json', about: 'releases of the agent: versions, sequences, platforms, states', make: releases },
  { name: 'rollouts.json', about: 'the newest rollouts: what of, how far, why halted', make: rollouts },
  { name: 'events.ndjson', about: `the last ${MAX_ROWS} events: time, type, host`, make: events },
  { name: 'audit.ndjson', about: `the last ${MAX_ROWS} rows of the audit log, without details`, make: audit },
  { name: 'ca.json', about: 'the certificate authority: validity, rotation', make: authority },
  { name: 'metrics.txt', about: 'GET /metrics', make: metrics },
  { name: 'api.json', about: 'the version of the API description, and its routes', make: routes },
];

/** All files; what cannot be had is told in `errors.txt`, and the rest goes on. */
export async function serverFiles(api: ApiClient): Promise<BundleFile[]> {
  const files: BundleFile[] = [];
  const errors: string[] = [];
  for (const { name, about, make } of PARTS) {
    try {
      files.push({ name, about, text: await make(api) });
    } catch (error) {
      errors.push(`${name}: ${describeError(error)}\n`);
    }
  }
  if (errors.length === 0) return files;
  return [...files, { name: 'errors.txt', about: 'what could not be asked for, and why', text: errors.join('') }];
}

/** What `fairlead doctor` says, and by what it was made. */
export function doctorFiles(checks: readonly Check[], server: object | null): BundleFile[] {
  const { checks: own = [] } = (server ?? {}) as { checks?: readonly Check[] };
  const cli = { version: VERSION, node: process.version, platform: `${process.platform} ${process.arch}` };
  return [
    { name: 'doctor.txt', about: 'what `fairlead doctor` says', text: formatChecks([...checks, ...own]) },
    { name: 'doctor.json', about: 'the same for programs, with the configuration', text: json({ checks, server }) },
    { name: 'cli.json', about: 'the CLI that made this', text: json(cli) },
  ];
}

async function hosts(api: ApiClient): Promise<string> {
  const all = await api.list<HostView>('/api/v1/hosts', { limit: MAX_HOSTS });
  return json(
    all.map((host) => ({
      ...picked(host as unknown as Row, [
        ...['id', 'name', 'kind', 'state', 'os', 'arch', 'agentVersion', 'docker', 'tags'],
        ...['createdAt', 'connectedAt', 'lastSeenAt', 'certificate', 'capabilities', 'policy', 'quarantine', 'upgrade'],
      ]),
    })),
  );
}

async function releases(api: ApiClient): Promise<string> {
  const { items } = await api.get<{ items: Row[] }>('/api/v1/agent-releases');
  return json(
    items.map((release) => picked(release, ['version', 'sequence', 'state', 'signatures', 'files', 'createdAt'])),
  );
}

async function rollouts(api: ApiClient): Promise<string> {
  const { items } = await api.get<{ items: Row[] }>('/api/v1/rollouts', { query: { limit: MAX_ROLLOUTS } });
  const fields = ['id', 'version', 'sequence', 'state', 'reason', 'stage', 'stages', 'options', 'createdAt', 'endedAt'];
  return json(items.map((rollout) => picked(rollout, fields)));
}

async function events(api: ApiClient): Promise<string> {
  const page = await api.get<{ items: Row[] }>('/api/v1/events', { query: { limit: MAX_ROWS } });
  // Actions and attributes have command lines and labels in them.
  return ndjson(page.items.map((event) => picked(event, ['id', 'time', 'type', 'host'])));
}

async function audit(api: ApiClient): Promise<string> {
  const page = await api.get<{ items: Row[] }>('/api/v1/audit', { query: { limit: MAX_ROWS } });
  return ndjson(page.items.map((row) => picked(row, ['id', 'at', 'actor', 'action', 'target', 'result'])));
}

async function authority(api: ApiClient): Promise<string> {
  const ca = await api.get<Row>('/api/v1/ca');
  return json(
    picked(ca, ['fingerprint', 'notBefore', 'notAfter', 'phase', 'trustVersion', 'roots', 'intermediate', 'warnings']),
  );
}

async function metrics(api: ApiClient): Promise<string> {
  const text = await read(await api.stream('/metrics', { accept: 'text/plain' }));
  // Receivers of the audit log are called by their paths and URLs, which may be secret.
  return text.replace(/\breceiver="([^"]*)"/g, (_label, name: string) => `receiver="${name.split(':')[0]}"`);
}

async function routes(api: ApiClient): Promise<string> {
  const { openapi, info, paths } = await api.get<{ openapi: string; info: object; paths: object }>(
    '/api/v1/openapi.json',
  );
  return json({ openapi, info, paths: Object.keys(paths) });
}

function picked(row: Row, names: readonly string[]): Row {
  return Object.fromEntries(names.filter((name) => row[name] !== undefined).map((name) => [name, row[name]]));
}
