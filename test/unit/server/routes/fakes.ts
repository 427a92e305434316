/** Services made up for the tests of the routes. */
import { Readable } from 'node:stream';
import type { InjectOptions, LightMyRequestResponse as Response } from 'fastify';
import { pino } from 'pino';
import { includesHost } from '../../../../server/access/scope.ts';
import { AgentFiles } from '../../../../server/agent-files.ts';
import { EnrollmentRefused } from '../../../../server/enrollment/redeem.ts';
import { RecoveryRefused } from '../../../../server/renewal/recovery.ts';
import { buildApi } from '../../../../server/routes/api.ts';
import type { Api } from '../../../../server/routes/app-types.ts';
import type { AuditEntry } from '../../../../server/routes/deps/audit.ts';
import type { HostRecord } from '../../../../server/routes/deps/hosts.ts';
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import { type Answer, FakeHost, HOST, NOW } from './fake-host.ts';
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
  const listeners = new Set<(tokenId: string, endsAt?: number) => void>();
  const scopeListeners = new Set<(hostId: string, tags: readonly string[] | undefined) => void>();
  const called = async (name: string, ...args: unknown[]) => void calls.push({ name, args });
  const find = async (ref: string) => {
    const found = hosts.find((each) => each.id === ref || each.name === ref);
    if (found === undefined) throw new FairleadError('HOST_NOT_FOUND', `there is no host ${ref}`);
    return found;
  };
  const deps: ApiDeps = {
    hosts: {
      list: async (_page, scope) => ({ items: hosts.filter((host) => includesHost(scope, host)) }),
      idInScope: async (ref, scope) => {
        const found = await find(ref);
        if (!includesHost(scope, found)) throw new FairleadError('HOST_NOT_FOUND', `there is no host ${ref}`);
        return found.id;
      },
      names: async () => new Map(hosts.map(({ id, name }) => [id, name])),
      onScopeChange: (listener) => {
        scopeListeners.add(listener);
        return () => scopeListeners.delete(listener);
      },
      get: find,
      link: async (ref) => {
        const found = await find(ref);
        if (found.state !== 'online') throw new FairleadError('HOST_OFFLINE', `host ${found.name} is not connected`);
        return host;
      },
      linkOnReturn: async (ref, signal) => {
        await find(ref);
        signal.throwIfAborted();
        return host;
      },
      update: async (ref, change, actor) => {
        await called('hosts.update', ref, change, actor);
        return { ...(await find(ref)), ...change };
      },
      remove: (...args) => called('hosts.remove', ...args),
      revoke: (...args) => called('hosts.revoke', ...args),
      revokeSerial: (...args) => called('hosts.revokeSerial', ...args),
      revokeMany: async (...args) => {
        await called('hosts.revokeMany', ...args);
        const found = hosts.filter(({ id, name }) => args[0].hosts.some((ref) => ref === id || ref === name));
        const unknown = args[0].hosts.filter((ref) => !hosts.some(({ id, name }) => ref === id || ref === name));
        const revoked = found.map(({ id, name }) => ({ id, name, serials: ['AB12'] }));
        return { hosts: revoked, certificates: [], notFound: { hosts: unknown, serials: args[0].serials } };
      },
      certificates: async () => ({ items: [] }),
      revocations: async () => ({ items: [] }),
    },
    enrollment: {
      createToken: async (...args) => {
        await called('enrollment.createToken', ...args);
        return { id: 'e1', token: 'fle1.secret', expiresAt: NOW };
      },
      list: async () => ({ items: [], nextCursor: 'next' }),
      revoke: (...args) => called('enrollment.revoke', ...args),
      redeem: async (request, address) => {
        if (request.token !== 'good') {
          const error = new FairleadError('TOKEN_INVALID', 'the token is not valid');
          const row = { actor: 'anonymous', address, action: 'host.enroll', result: 'refused' as const };
          throw new EnrollmentRefused(error, { ...row, detail: { code: 'TOKEN_INVALID' } });
        }
        return { hostId: HOST.id, name: 'edge-1', certificate: 'CERT', ca: 'CA', notAfter: NOW };
      },
    },
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
    events: {
      last: 7,
      list: async (page, query) => {
        await called('events.list', page, query);
        return { items: [EVENT], nextCursor: null };
      },
      async *follow(query, { signal, ...following }) {
        await called('events.follow', query, following);
        yield { rows: [EVENT], upTo: EVENT.id };
        yield { rows: [], missing: { reason: 'retention', from: 9, to: 11 }, upTo: 11 };
        yield { rows: [], upTo: 12 };
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
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
    webhooks: {
      create: async (...args) => {
        await called('webhooks.create', ...args);
        return { webhook: WEBHOOK, secret: 'shown once' };
      },
      list: async () => ({ items: [WEBHOOK] }),
      get: async () => WEBHOOK,
      remove: (...args) => called('webhooks.remove', ...args),
      test: (...args) => called('webhooks.test', ...args),
    },
    quarantine: { release: (...args) => called('quarantine.release', ...args) },
    recovery: {
      request: async ({ proof }, address) => {
        if (proof === 'wait') return undefined;
        if (proof === 'good') return { certificate: 'CERT', notAfter: NOW };
        const entry = { actor: 'anonymous', address, action: 'host.recover', target: '', result: 'refused' as const };
        throw new RecoveryRefused(new FairleadError('RECOVERY_DENIED', 'denied'), { ...entry, detail: {} });
      },
      list: async () => ({ items: [] }),
      approve: (...args) => called('recovery.approve', ...args),
      deny: (...args) => called('recovery.deny', ...args),
    },
    apiTokens: {
      authenticate: async (token) => {
        const [role = '', tag] = token.split('#');
        if (!['viewer', 'operator', 'admin'].includes(role)) {
          throw new FairleadError('UNAUTHORIZED', 'the API token is not valid');
        }
        const scope = tag === undefined ? undefined : { hosts: [], tags: [tag] };
        return { tokenId: `id-${token}`, name: `the-${token}`, role: role as Role, scope };
      },
      create: async (...args) => {
        await called('apiTokens.create', ...args);
        const [{ name, role, expiresAt, hosts = [], tags = [] }] = args;
        return { id: 't1', token: 'fla1.secret', name, role, scope: { hosts, tags }, expiresAt };
      },
      rotate: async (...args) => {
        await called('apiTokens.rotate', ...args);
        return { id: 't2', token: 'fla1.next', name: 'x', role: 'viewer', replacedEndsAt: NOW };
      },
      list: async () => ({ items: [] }),
      revoke: (...args) => called('apiTokens.revoke', ...args),
      onRevoked: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    operatorCertificates: {
      authenticate: () => undefined,
      create: async (...args) => {
        await called('operatorCertificates.create', ...args);
        return { serial: 'AB', operatorId: 'o1', certificate: 'CERT', ca: 'CA', notAfter: NOW };
      },
      list: async () => ({ items: [] }),
      revoke: (...args) => called('operatorCertificates.revoke', ...args),
      onRevoked: () => () => undefined,
    },
    users: {
      create: async (user, ...args) => {
        await called('users.create', user, ...args);
        const { name, role } = user;
        return { id: 'u1', name, role, hosts: [], tags: [], createdBy: 'a', createdAt: NOW, passwordChangedAt: NOW };
      },
      list: async () => ({ items: [] }),
      setPassword: (...args) => called('users.setPassword', ...args),
      remove: (...args) => called('users.remove', ...args),
    },
    logins: {
      login: async () => {
        throw new FairleadError('NOT_FOUND', 'login by password is off');
      },
      authenticate: async () => {
        throw new FairleadError('UNAUTHORIZED', 'the session is over');
      },
      fitsCsrfToken: () => false,
      session: () => {
        throw new FairleadError('UNAUTHORIZED', 'the session is over');
      },
      logout: (...args) => called('logins.logout', ...args),
      onRevoked: () => () => undefined,
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
    authority: {
      installationId: 'i1',
      caPem: '-----BEGIN CERTIFICATE-----\n',
      caFingerprint: 'sha256:00',
      ca: { isIntermediate: false, subject: 'CN=Fairlead', notBefore: new Date(NOW), notAfter: new Date(NOW) },
      phase: 'published',
      trust: () => ({ version: 2, roots: [aRoot('current'), aRoot('next')], pem: '-----BEGIN CERTIFICATE-----\n' }),
      warnings: () => ['it ends soon'],
    },
    rotation: {
      status: async () => ({
        phase: 'published' as const,
        ...{ hosts: 2, acknowledged: 1 },
        unacknowledged: [{ id: 'h1', name: 'edge-1' }],
        otherCertificates: [],
        otherOperatorCertificates: [{ serial: 'AB', name: 'ann', notAfter: 0 }],
      }),
      take: (...args) => called('rotation.take', ...args),
    },
    stacks: fakeStacks(called),
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
    offlineRoot: {
      request: async (...args) => {
        await called('offlineRoot.request', ...args);
        return 'a request';
      },
      import: async (...args) => {
        await called('offlineRoot.import', ...args);
        return 'published' as const;
      },
    },
    hawser: {
      hosts: {
        add: async (...args) => {
          await called('hawser.add', ...args);
          return aHawserHost(args[0].name);
        },
        list: async () => ({ items: [aHawserHost('nas')] }),
        get: async () => aHawserHost('nas'),
        change: async (...args) => {
          await called('hawser.change', ...args);
          return aHawserHost('nas');
        },
        close: async () => undefined,
      },
      tokens: {
        create: async (...args) => {
          await called('hawser.create', ...args);
          return aHawserToken(args[0].name);
        },
        rotate: async (...args) => {
          await called('hawser.rotate', ...args);
          return { ...aHawserToken('nas'), replacedEndsAt: NOW };
        },
        list: async () => ({ items: [aHawserToken('nas')] }),
        revoke: (...args) => called('hawser.revoke', ...args),
      },
      edge: {
        connections: () => [],
        accept: async ({ ws }) => ws.close(1000),
        close: () => undefined,
      },
      adoption: {
        offer: async (host, ...args) => {
          await called('adoption.offer', host, ...args);
          return { id: 'e2', token: 'fle1.adopt', expiresAt: NOW, hostId: HOST.id, hostName: host };
        },
        look: async (host) => ({ hostId: HOST.id, hostName: host, state: 'trying', why: 'Docker is away' }),
        cancel: (...args) => called('adoption.cancel', ...args),
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
  const revokeToken = (tokenId: string, endsAt?: number) => {
    for (const listener of listeners) listener(tokenId, endsAt);
  };
  const retag = (hostId: string, tags: string[] | undefined) => {
    for (const listener of scopeListeners) listener(hostId, tags);
  };
  return { deps, host, audit, calls, log, revokeToken, retag };
}

const EVENT = {
  id: 8,
  timeMicros: NOW * 1000 + 5,
  hostId: HOST.id,
  host: HOST.name,
  type: 'container.exec_create',
  action: 'exec_create: sh',
  subject: 'c1',
  attributes: '{"name":"web"}',
};

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

const WEBHOOK = {
  ...{ id: 'w1', url: 'https://receiver.example/', state: 'ok' as const, createdBy: 'a', createdAt: NOW },
  ...{ failures: 0, behind: 0 },
};

function aHawserToken(name: string) {
  return { id: 'w1', name, prefix: 'AbCdEfGh', token: 'AbCdEfGh-secret', createdBy: 'a', createdAt: NOW };
}

function aHawserHost(hostName: string) {
  const state = { isOnline: true, insecureHttp: false, changedBy: 'a', changedAt: NOW };
  return { hostId: 'h1', hostName, url: 'https://nas:2376/', ...state };
}

function aRoot(role: 'current' | 'next') {
  const valid = { notBefore: new Date(NOW), notAfter: new Date(NOW) };
  return { role, fingerprint: 'sha256:00', certPem: '', subject: 'CN=Fairlead', offline: false, ...valid };
}

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
