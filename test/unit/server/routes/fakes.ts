/** Services made up for the tests of the routes. */
import { Readable } from 'node:stream';
import type { InjectOptions, LightMyRequestResponse as Response } from 'fastify';
import { pino } from 'pino';
import { AgentFiles } from '../../../../server/agent-files.ts';
import { Drain } from '../../../../server/drain.ts';
import { buildApi } from '../../../../server/routes/api.ts';
import type { Api } from '../../../../server/routes/app-types.ts';
import type { AuditEntry } from '../../../../server/routes/deps/audit.ts';
import type { HostRecord } from '../../../../server/routes/deps/hosts.ts';
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { ok } from '../../../../shared/doctor/check.ts';
import type { Diagnostics } from '../../../../shared/doctor/diagnostics.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import { fakeAccess } from './fake-access.ts';
import { fakeAuthority } from './fake-authority.ts';
import { fakeEvents } from './fake-events.ts';
import { fakeHawser } from './fake-hawser.ts';
import { type Answer, FakeHost, HOST, NOW } from './fake-host.ts';
import { fakeHosts } from './fake-hosts.ts';
import { fakeReleases } from './fake-releases.ts';
import { fakeRollouts } from './fake-rollouts.ts';
import { fakeStacks } from './fake-stacks.ts';

export interface Fixture {
  api: Api;
  deps: ApiDeps;
  host: FakeHost;
  audit: AuditEntry[];
  /** What was asked of services, by name, with the arguments. */
  calls: { name: string; args: unknown[] }[];
  /** Revokes a token as the service would, or lets it end at a time. */
  revokeToken(tokenId: string, endsAt?: number): void;
  /** Gives a host other tags as the service would, or takes it away. */
  retag(hostId: string, tags: string[] | undefined): void;
  log: string[];
}

/** Tokens of the fixture: `viewer`, `operator` and `admin`, and with a tag as scope `viewer#lab`. */
export const as = (token: Role | `${Role}#${string}`) => ({ authorization: `Bearer ${token}` });

export interface FixtureOptions {
  answers?: Record<string, Answer>;
  overrides?: Partial<ApiDeps>;
  hosts?: HostRecord[];
}

export function fakeDeps({ answers, overrides, hosts = [HOST] }: FixtureOptions = {}): Omit<Fixture, 'api'> {
  const host = new FakeHost(answers);
  const audit: AuditEntry[] = [];
  const calls: Fixture['calls'] = [];
  const log: string[] = [];
  const called = async (name: string, ...args: unknown[]) => void calls.push({ name, args });
  const { hostDeps, retag } = fakeHosts(hosts, host, called);
  const { access, revokeToken } = fakeAccess(called);
  const deps: ApiDeps = {
    ...hostDeps,
    ...access,
    ...fakeAuthority(called),
    ...fakeEvents(called),
    ...fakeHawser(called),
    drain: new Drain(systemClock),
    diagnostics: { diagnose: async () => DIAGNOSTICS },
    agentFiles: new AgentFiles([]),
    installScript: { text: async () => '#!/bin/sh\n', command: async (token) => `install with ${token}` },
    backups: {
      create: async (key, by) => {
        await called('backups.create', key, by);
        const manifest = { createdAt: new Date(NOW).toISOString(), installationId: 'installation' };
        const release = () => void calls.push({ name: 'backup.release', args: [] });
        return { manifest, bytes: 6, chunks: Readable.from([Buffer.from('sea'), Buffer.from('led')]), release };
      },
    },
    volumeTransfers: {
      create: async (request, actor) => {
        await called('volumeTransfers.create', request, actor);
        return { ...aTransfer(HOST.id), ...request };
      },
      get: async (id) => {
        if (id === 'none') throw new FairleadError('NOT_FOUND', 'there is no such transfer');
        return { ...aTransfer(HOST.id), id };
      },
      list: async () => ({ items: [aTransfer(HOST.id)] }),
      cancel: (...args) => called('volumeTransfers.cancel', ...args),
      watch: () => () => undefined,
    },
    publicHosts: ['server'],
    audit: {
      record: async (entry) => void audit.push(entry),
      recordOrLog: async (entry) => void audit.push(entry),
      list: async (_page, filter) => {
        if (filter !== undefined && Object.keys(filter).length > 0) await called('audit.list', filter);
        return { items: [{ id: 1, at: NOW, actor: 'a', action: 'login', result: 'ok' as const }] };
      },
    },
    auditTrail: {
      verify: async () => ({ kind: 'changed' as const, id: 3, message: 'row 3 does not fit' }),
      async *export() {
        yield '{"type":"header"}\n';
        yield '{"type":"end"}\n';
      },
    },
    stacks: fakeStacks(called),
    ...fakeReleases(called),
    rollouts: fakeRollouts(called),
    stackMigrations: {
      begin: async ({ from, to }, options) => {
        await called('stackMigrations.begin', [from.stack, to.stack], options);
        return {
          id: 'm1',
          done: Promise.resolve({
            revision: 1,
            stack: to.stack,
            volumes: ['web_data'],
            images: [],
            kept: options.keep,
          }),
          progress: async function* () {
            yield { step: 'stop', line: 'begins' };
          },
        };
      },
    },
    metrics: {
      contentType: 'text/plain; version=0.0.4',
      text: async () => 'fairlead_info 1\n',
      httpRequest: (...args) => void calls.push({ name: 'metrics', args }),
    },
    hostMetrics: {
      latest: () => undefined,
      history: async (hostId, asked) => {
        await called('hostMetrics.history', hostId, asked);
        return { from: asked.from, to: asked.to, step: 60, points: [] };
      },
    },
    ready: async () => ({ ready: true, checks: { store: { ok: true } } }),
    urls: () => ({ apiUrl: 'https://server:8440', agentUrl: 'wss://server:8443/agent' }),
    version: '0.1.0',
    clock: systemClock,
    logger: pino({ level: 'debug' }, { write: (line: string) => void log.push(line) }),
    ...overrides,
  };
  return { deps, host, audit, calls, log, revokeToken, retag };
}

function aTransfer(hostId: string) {
  const ends = { from: { hostId, volume: 'a' }, to: { hostId, volume: 'b' } };
  const counts = { bytes: 0, carried: 0, resumes: 0, restarts: 0 };
  return {
    id: 'v1',
    ...ends,
    ...counts,
    replaces: false,
    forced: false,
    state: 'done' as const,
    createdBy: 'ann',
    createdAt: NOW,
    endedAt: NOW,
  };
}

const DIAGNOSTICS: Diagnostics = {
  ...{ worst: 'ok', checks: [ok('server', 'it is up')], version: '0.0.0', schemaVersion: 1, installationId: 'i' },
  ...{ time: '2030-01-01T00:00:00.000Z', startedAt: '2030-01-01T00:00:00.000Z', node: 'v26', platform: 'linux x64' },
  ...{ apiUrl: 'https://fairlead:8440', agentUrl: 'wss://fairlead:8443/agent', configuration: { hawser: true } },
};

/** The API over fakes. The caller closes it. */
export async function fixture(options: FixtureOptions = {}): Promise<Fixture> {
  const parts = fakeDeps(options);
  return { ...parts, api: await buildApi(parts.deps) };
}

/** Asks without a socket. */
export function ask(api: Api, request: InjectOptions | string): Promise<Response> {
  return api.inject(request);
}

/** Listens on a free port. @returns the base URL */
export function listen({ api }: Pick<Fixture, 'api'>): Promise<string> {
  return api.listen({ host: '127.0.0.1', port: 0 });
}
