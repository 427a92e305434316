/** The API with everything real that says who asks: TLS, CA, store, certificates, users and sessions; only hosts are made up. */
import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Server } from 'node:tls';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import type { Ca } from '../../../../certs/authority.ts';
import { createCsr, readCsr } from '../../../../certs/csr.ts';
import { ApiTokens } from '../../../../server/access/api-tokens.ts';
import { Logins } from '../../../../server/access/logins.ts';
import { OperatorCertificates } from '../../../../server/access/operator-certificates.ts';
import { type Derive, PasswordHasher } from '../../../../server/access/password-hash.ts';
import { Users } from '../../../../server/access/users.ts';
import { apiTls } from '../../../../server/api-tls.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { Authority } from '../../../../server/authority/authority.ts';
import { Rotation } from '../../../../server/authority/rotation.ts';
import type { ApiTls } from '../../../../server/config.ts';
import { listenApi } from '../../../../server/listen.ts';
import { buildApi } from '../../../../server/routes/api.ts';
import { openStore } from '../../../../server/store/store.ts';
import { systemClock } from '../../../../shared/clock.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type Cleanup, defer, tempDir } from '../../../support/tmp.ts';
import { MemorySettings } from '../authority/fixtures.ts';
import { fakeDeps } from '../routes/fakes.ts';

export const LOGS = '/api/v1/hosts/edge-1/containers/web/logs?follow=1';
export const EXEC = '/api/v1/hosts/edge-1/containers/web/exec?cmd=sh';
export const ADMIN = { name: 'admin', address: '192.0.2.9' };

export interface Pair {
  key: string;
  cert: string;
}

export interface Call {
  method?: string;
  headers?: Record<string, string>;
  body?: unknown;
  /** The client certificate. */
  pair?: Pair;
  token?: string;
  agent?: https.Agent;
}

export interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every route
  body: any;
}

export interface ServeOptions {
  apiTls?: ApiTls;
  trustProxy?: boolean;
}

export type Served = Awaited<ReturnType<typeof serveApi>>;

/** Serves the API until the test ends. The clock begins now, as certificates are verified by the real time, and is moved by hand. */
export async function serveApi(cleanup: Cleanup, options: ServeOptions = {}) {
  const clock = new FakeClock(Date.now());
  const logged: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  const dataDir = await tempDir(cleanup, 'served');
  const store = await openStore({ dataDir: `${dataDir}/data`, clock });
  defer(cleanup, () => store.close());
  const publicHosts = ['localhost', '127.0.0.1'];
  const settings = new MemorySettings();
  const authority = await Authority.open({
    settings,
    commit: async (key, value) => void settings.values.set(key, Buffer.from(value)),
    certificates: store.certificates,
    dataDir,
    publicHosts,
    clock,
    log,
    caKeyBits: 2048,
  });
  defer(cleanup, () => authority.close());
  const audit = new Audit({ store, clock, log });
  const derived: Parameters<Derive>[] = [];
  const gate = { until: Promise.resolve() };
  // As telling as argon2id, and as quick as tests need it.
  const hasher = new PasswordHasher(async (...args) => {
    derived.push(args);
    await gate.until;
    return createHash('sha256').update(args[0]).update(args[1]).digest();
  });
  const parts = { store, audit, authority, clock, log };
  const apiTokens = new ApiTokens({ ...parts, caFingerprint: authority.caFingerprint });
  const operatorCertificates = new OperatorCertificates(parts);
  const logins = new Logins({ ...parts, hasher });
  const rotation = new Rotation({
    ...{
      authority,
      hosts: store.hostTrust,
      operatorCertificates: store.operatorCertificates,
      clock,
      log,
      caKeyBits: 2048,
    },
  });
  const users = new Users({ ...parts, hasher, endSessions: (id) => logins.endOfUser(id) });
  const tls = await apiTls({ apiTls: options.apiTls ?? { mode: 'internal' } }, authority, { clock, log });
  const fakes = fakeDeps({
    answers: {
      'container.log.stream': () => ({ tty: true }),
      'container.exec.open': () => ({ execId: 'x', tty: true }),
    },
    overrides: {
      ...{ apiTokens, operatorCertificates, logins, users, audit, authority, rotation, clock },
      ...{ publicHosts, logger: log },
      trustProxy: options.trustProxy ?? false,
      ...(tls.options === undefined ? {} : { https: tls.options }),
    },
  });
  const api = await buildApi(fakes.deps);
  const stop = tls.follow(api.server as unknown as Server);
  await listenApi(api, { host: '127.0.0.1', port: 0 });
  defer(cleanup, async () => {
    stop();
    logins.close();
    api.server.closeAllConnections();
    await api.close();
  });
  const { port } = api.server.address() as AddressInfo;
  const isPlain = tls.options === undefined;
  const url = `${isPlain ? 'http' : 'https'}://127.0.0.1:${port}`;
  const ca = authority.caPem;
  const { token } = await apiTokens.create({ name: 'root', role: 'admin' }, ADMIN);

  /** Sends one request; the body of the answer is the caller's. */
  async function open(path: string, { method = 'GET', headers, body, pair, token: bearer, agent }: Call = {}) {
    const json = body === undefined ? undefined : JSON.stringify(body);
    const all = {
      ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
      ...(json === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    };
    const request = (isPlain ? http : https).request(url + path, {
      method,
      headers: all,
      ca: [ca],
      agent: agent ?? false,
      rejectUnauthorized: options.apiTls?.mode !== 'files',
      ...pair,
    } as https.RequestOptions);
    request.end(json);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return response;
  }

  async function call(path: string, how: Call = {}): Promise<Reply> {
    const response = await open(path, how);
    const answer = await text(response);
    const isJson = /json/.test(response.headers['content-type'] ?? '');
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      text: answer,
      body: isJson ? JSON.parse(answer) : undefined,
    };
  }

  /** Opens a WebSocket. @returns 101, or the status that refuses it */
  async function upgrade(headers: Record<string, string>, pair?: Pair): Promise<{ status: number; socket: WebSocket }> {
    const socket = new WebSocket(url.replace('http', 'ws') + EXEC, { ca, headers, ...pair });
    socket.on('error', () => undefined);
    defer(cleanup, () => socket.terminate());
    const status = await new Promise<number>((resolve) => {
      socket.once('open', () => resolve(101));
      socket.once('unexpected-response', (_request, response: IncomingMessage) => resolve(response.statusCode ?? 0));
    });
    return { status, socket };
  }

  /** A key and a certificate for it that the API has issued. */
  async function operator(role: Role = 'operator', more: { ttlSeconds?: number; name?: string } = {}) {
    const { key, csr } = await newKey();
    const made = await operatorCertificates.create({ csr, name: 'ann', role, ...more }, ADMIN);
    return { ...made, pair: { key, cert: made.certificate } };
  }

  /** The cookie and the csrfToken of a new session. */
  async function login(user: string, password: string, headers: Record<string, string> = {}) {
    const answer = await call('/api/v1/login', { method: 'POST', body: { user, password }, headers });
    const [cookie = ''] = (answer.headers['set-cookie']?.[0] ?? '').split(';');
    return { ...answer, cookie, csrf: String(answer.body?.csrfToken) };
  }

  /** How a followed log ends that is opened in this way. */
  async function follow(how: Call): Promise<{ ended: Promise<string> }> {
    const response = await open(LOGS, how);
    if (response.statusCode !== 200) throw new Error(`the log was refused: ${response.statusCode}`);
    const ended = new Promise<string>((resolve) => {
      response.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
      response.once('end', () => resolve('end'));
    });
    response.resume();
    return { ended };
  }

  const auditRows = async () => (await audit.list({ limit: 500 })).items;
  const services = { apiTokens, operatorCertificates, logins, users, authority, rotation, store };
  return {
    ...{ url, port, ca, token, clock, logged, derived, gate, dataDir, fakes, api, tls },
    ...{ open, call, upgrade, operator, login, follow, auditRows },
    ...services,
  };
}

export async function newKey(): Promise<{ key: string; csr: string }> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { key, csr: await createCsr(privateKey) };
}

/** A certificate that `ca` issues and no list knows. */
export async function issued(ca: Ca, installationId: string, kind: 'agent' | 'operator'): Promise<Pair> {
  const { key, csr } = await newKey();
  const { spki } = await readCsr(csr);
  const common = { spki, installationId, clock: systemClock };
  const made =
    kind === 'agent'
      ? await ca.issueAgent({ ...common, hostId: randomUUID() })
      : await ca.issueOperator({ ...common, operatorId: randomUUID(), lifeSeconds: 3600 });
  return { key, cert: made.certPem };
}

export const PASSWORD = 'correct horse battery';
/** The route that tells of the session of a cookie. */
export const SESSION = '/api/v1/session';

let lastAddress = 0;
/** The header for a request from `address`, through the trusted proxy: from another one each time unless given. */
export const from = (address = `198.51.100.${++lastAddress}`) => ({ 'x-forwarded-for': address });

let lastUser = 0;
/** A user of its own for a test. @returns the name */
export async function newUser(on: Served): Promise<string> {
  const name = `user-${++lastUser}`;
  await on.users.create({ name, role: 'operator', password: PASSWORD }, ADMIN);
  return name;
}
