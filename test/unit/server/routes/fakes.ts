/** Services and hosts made up for the tests of the routes. */
import { Duplex, PassThrough } from 'node:stream';
import type { InjectOptions, LightMyRequestResponse as Response } from 'fastify';
import { pino } from 'pino';
import { EnrollmentRefused } from '../../../../server/enrollment/redeem.ts';
import type { HostLink, LinkDescription, LinkStream } from '../../../../server/hosts/host-link.ts';
import { buildApi } from '../../../../server/routes/api.ts';
import type { Api } from '../../../../server/routes/app-types.ts';
import type { ApiDeps, AuditEntry, HostRecord } from '../../../../server/routes/deps.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { Role, StreamKind } from '../../../../shared/messages/kind.ts';

export const NOW = Date.parse('2026-01-02T03:04:05Z');

export const HOST: HostRecord = {
  id: '0b7e3c1e-58f7-4a52-9f0e-6a2f0d3c9a11',
  name: 'edge-1',
  kind: 'native',
  state: 'online',
  os: 'linux',
  arch: 'x64',
  agentVersion: '0.1.0',
  tags: ['lab', 'eu'],
  docker: { reachable: true, version: '20.10' },
  createdAt: NOW,
  lastSeenAt: NOW,
  connectedAt: NOW,
  certificate: { serial: 'AB12', notAfter: NOW + 1000 },
};

/** One duplex of two ways. */
function joined(readable: PassThrough, writable: PassThrough): Duplex {
  return Duplex.from({ readable, writable } as unknown as Parameters<typeof Duplex.from>[0]);
}

/** A call or a stream that a fake host was asked for. */
export interface Asked {
  kind: string;
  params: Record<string, unknown>;
  timeoutMs?: number | undefined;
  stream: FakeStream;
}

/** The host's side of a stream. */
export class FakeStream {
  /** What the server wrote. */
  readonly input = new PassThrough();
  /** What the host writes. */
  readonly output = new PassThrough();
  readonly bytes: Duplex;
  readonly signals: unknown[] = [];
  readonly trailer = Promise.withResolvers<unknown>();
  readonly wasReset = Promise.withResolvers<FairleadError>();
  itemList: AsyncIterable<unknown> | Iterable<unknown> = [];
  resetWith: FairleadError | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.bytes = joined(this.output, this.input);
    this.bytes.on('error', () => undefined);
    this.trailer.promise.catch(() => undefined);
    signal?.addEventListener('abort', () => this.interrupt(signal.reason));
  }

  /** What a lost connection or a reset does to a stream. */
  interrupt(error: FairleadError): void {
    this.resetWith ??= error;
    this.wasReset.resolve(error);
    this.bytes.destroy(error);
    this.trailer.reject(error);
  }
}

type Answer = (asked: Asked) => unknown;

/** A host that answers each kind as `answers` says; a thrown error is the answer, too. */
export class FakeHost implements HostLink {
  readonly hostId: string = HOST.id;
  readonly instanceId: string = 'process-1';
  readonly asked: Asked[] = [];
  readonly closed = new Promise<FairleadError>(() => undefined);
  readonly answers: Record<string, Answer>;

  constructor(answers: Record<string, Answer> = {}) {
    this.answers = answers;
  }

  call: HostLink['call'] = async (kind, params, options) => {
    return (await this.#ask(kind, params, options)).reply as never;
  };

  open: HostLink['open'] = async (kind, params, options) => {
    const { asked, reply } = await this.#ask(kind, params, options);
    const { stream } = asked;
    return {
      reply,
      bytes: stream.bytes,
      items: async function* () {
        yield* stream.itemList;
      },
      trailer: stream.trailer.promise,
      signal: (value: unknown) => stream.signals.push(value),
      reset: (error: FairleadError) => stream.interrupt(error),
      closed: Promise.resolve(undefined),
    } as unknown as LinkStream<typeof kind>;
  };

  /** What pings meet, one after the other; the last one again and again. */
  pings: (number | FairleadError)[] = [new FairleadError('UNSUPPORTED', 'a fake host answers no ping')];

  async ping(): Promise<number> {
    const [next] = this.pings.length > 1 ? this.pings.splice(0, 1) : this.pings;
    if (typeof next !== 'number') throw next;
    return next;
  }

  traffic(): undefined {
    return undefined;
  }

  describe(): LinkDescription {
    return { capabilities: Object.keys(this.answers) } as unknown as LinkDescription;
  }

  close(): void {
    throw new Error('no test asks for it');
  }

  async #ask(kind: StreamKind, params: unknown, options: Parameters<HostLink['call']>[2]) {
    const stream = new FakeStream(options?.signal);
    const asked = { kind: kind.name, params: params as Asked['params'], timeoutMs: options?.timeoutMs, stream };
    this.asked.push(asked);
    const answer = this.answers[kind.name];
    if (answer === undefined) throw new FairleadError('UNSUPPORTED', `the host has no ${kind.name}`);
    return { asked, reply: await answer(asked) };
  }
}

export interface Fixture {
  api: Api;
  deps: ApiDeps;
  host: FakeHost;
  audit: AuditEntry[];
  /** What was asked of services, by name, with the arguments. */
  calls: { name: string; args: unknown[] }[];
  /** Revokes a token as the service would. */
  revokeToken(tokenId: string): void;
  log: string[];
}

/** Tokens of the fixture: `viewer`, `operator` and `admin`. */
export const as = (role: Role) => ({ authorization: `Bearer ${role}` });

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
  const listeners = new Set<(tokenId: string) => void>();
  const called = async (name: string, ...args: unknown[]) => void calls.push({ name, args });
  const find = async (ref: string) => {
    const found = hosts.find((each) => each.id === ref || each.name === ref);
    if (found === undefined) throw new FairleadError('HOST_NOT_FOUND', `there is no host ${ref}`);
    return found;
  };
  const deps: ApiDeps = {
    hosts: {
      list: async () => ({ items: hosts }),
      get: find,
      link: async (ref) => {
        const found = await find(ref);
        if (found.state !== 'online') throw new FairleadError('HOST_OFFLINE', `host ${found.name} is not connected`);
        return host;
      },
      update: async (ref, change, actor) => {
        await called('hosts.update', ref, change, actor);
        return { ...(await find(ref)), ...change };
      },
      remove: (...args) => called('hosts.remove', ...args),
      revoke: (...args) => called('hosts.revoke', ...args),
      revokeSerial: (...args) => called('hosts.revokeSerial', ...args),
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
    apiTokens: {
      authenticate: async (token) => {
        if (!['viewer', 'operator', 'admin'].includes(token)) {
          throw new FairleadError('UNAUTHORIZED', 'the API token is not valid');
        }
        return { tokenId: `id-${token}`, name: `the-${token}`, role: token as Role };
      },
      create: async (...args) => {
        await called('apiTokens.create', ...args);
        return { id: 't1', token: 'fla1.secret' };
      },
      list: async () => ({ items: [] }),
      revoke: (...args) => called('apiTokens.revoke', ...args),
      onRevoked: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    audit: {
      record: async (entry) => void audit.push(entry),
      recordOrLog: async (entry) => void audit.push(entry),
      list: async () => ({ items: [{ id: 1, at: NOW, actor: 'a', action: 'login', result: 'ok' as const }] }),
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
      }),
      take: (...args) => called('rotation.take', ...args),
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
    metrics: {
      contentType: 'text/plain; version=0.0.4',
      text: async () => 'fairlead_info 1\n',
      httpRequest: (...args) => void calls.push({ name: 'metrics', args }),
    },
    ready: async () => ({ ready: true, checks: { store: { ok: true } } }),
    urls: () => ({ apiUrl: 'https://server:8440', agentUrl: 'wss://server:8443/agent' }),
    version: '0.1.0',
    clock: systemClock,
    logger: pino({ level: 'debug' }, { write: (line: string) => void log.push(line) }),
    ...overrides,
  };
  const revokeToken = (tokenId: string) => {
    for (const listener of listeners) listener(tokenId);
  };
  return { deps, host, audit, calls, log, revokeToken };
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

/** A frame of Docker's multiplexed output. */
export function frame(stream: 1 | 2, text: string | Buffer): Buffer {
  const body = Buffer.from(text);
  const head = Buffer.alloc(8);
  head.writeUInt8(stream, 0);
  head.writeUInt32BE(body.length, 4);
  return Buffer.concat([head, body]);
}
