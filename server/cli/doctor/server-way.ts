/** The way from this machine to a server's API and to its agents' port, and what the server says of itself. */
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { INTERNAL_SERVER_NAME } from '../../../certs/names.ts';
import { type Check, fail, ok, warn } from '../../../shared/doctor/check.ts';
import { clockCheck } from '../../../shared/doctor/clocks.ts';
import type { Diagnostics } from '../../../shared/doctor/diagnostics.ts';
import { type Answered, reach } from '../../../shared/doctor/reach.ts';
import { type FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { explainNetworkError } from '../../../shared/network-errors.ts';
import { pinnedTls, UnreachableError } from '../../../shared/pinned-http.ts';
import { ApiClient } from '../api-client.ts';
import { type GlobalOptions, loginOf, target } from '../connect.ts';
import { CliError } from '../errors.ts';
import type { CliIo } from '../io.ts';
import { read } from '../whole-text.ts';

const TIMEOUT_MS = 10_000;

export interface Examined {
  readonly checks: readonly Check[];
  /** What the server says; absent where it was not reached, or does not say it to this caller. */
  readonly diagnostics?: Diagnostics;
}

/** Looks at the server that options and context name. @throws CliError if they name none */
export async function examineServer(options: GlobalOptions, io: CliIo): Promise<Examined> {
  const { url } = await loginOf(options, io);
  let api: ApiClient | undefined;
  try {
    const { checks } = await reach({
      id: 'api',
      what: `the API at ${url.host}`,
      host: url.hostname,
      port: portOf(url, 443),
      ask: async () => {
        api = new ApiClient(await trusted(options, io));
        return await askHealth(api);
      },
      isGood: (status) => status === 200,
    });
    if (api === undefined || checks.some(({ level }) => level === 'fail')) return { checks };
    return await examineFurther(api, checks, io);
  } finally {
    api?.close();
  }
}

/** A server of another CA than the token's is none that can be trusted. */
async function trusted(options: GlobalOptions, io: CliIo): ReturnType<typeof target> {
  try {
    return await target(options, io);
  } catch (error) {
    throw error instanceof CliError ? new UnreachableError('tls', error.message, error) : error;
  }
}

async function askHealth(api: ApiClient): Promise<Answered> {
  const answer = await api.stream('/healthz', { accept: 'application/json', timeoutMs: TIMEOUT_MS });
  const { version } = JSON.parse(await read(answer)) as { version?: string };
  return {
    status: answer.statusCode ?? 0,
    date: answer.headers.date,
    ...(version === undefined ? {} : { detail: `fairlead-server ${version}` }),
  };
}

async function examineFurther(api: ApiClient, before: readonly Check[], io: CliIo): Promise<Examined> {
  const checks = [...before, await readyCheck(api)];
  const asked = await askDiagnostics(api);
  if ('error' in asked) return { checks: [...checks, tokenCheck(asked.error)] };
  const { diagnostics, halfMs } = asked;
  checks.push(ok('token', 'the API token is accepted'));
  // Its clock was read half a round trip ago.
  checks.push(clockCheck('clock', io.now() - halfMs - Date.parse(diagnostics.time)));
  checks.push(...(await agentPort(api, diagnostics.agentUrl)));
  return { checks, diagnostics };
}

async function askDiagnostics(
  api: ApiClient,
): Promise<{ diagnostics: Diagnostics; halfMs: number } | { error: FairleadError }> {
  const since = performance.now();
  try {
    const diagnostics = await api.get<Diagnostics>('/api/v1/diagnostics');
    return { diagnostics, halfMs: (performance.now() - since) / 2 };
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return { error };
  }
}

async function readyCheck(api: ApiClient): Promise<Check> {
  try {
    await api.get('/readyz', { timeoutMs: TIMEOUT_MS });
    return ok('api.ready', 'the server is ready: its store, its CA and its listeners');
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return fail(
      'api.ready',
      `the server is not ready: ${error.message}`,
      'see its log, and GET /readyz for which part',
    );
  }
}

function tokenCheck({ code, message }: FairleadError): Check {
  if (code === 'FORBIDDEN') {
    const summary = 'the API token is accepted, but not one of an administrator without a scope';
    return warn('token', summary, 'use such a one, as <data-dir>/admin-token, to see what the server says of itself');
  }
  const advice =
    code === 'UNAUTHORIZED' || code === 'TOKEN_INVALID'
      ? 'it has ended, or is of another installation: make one with `fairlead apitoken create`, or log in anew'
      : 'see server/TROUBLESHOOTING.md for what the code means';
  return fail('token', `the server does not say how it is: ${message} (${code})`, advice);
}

async function agentPort(api: ApiClient, agentUrl: string): Promise<Check[]> {
  const url = new URL(agentUrl);
  // Behind the same name as the API, which may be another one than the server hands out.
  const host = isLoopback(url.hostname) ? api.url.hostname : url.hostname;
  const port = portOf(url, 443);
  const { checks } = await reach({
    id: 'agents',
    what: `the agents' port ${host}:${port}`,
    host,
    port,
    ask: async () => await shakeHands(host, port, await rootsOf(api)),
    isGood: () => true,
  });
  return checks;
}

/** Without a certificate no session begins, but whose port it is shows before that. */
async function shakeHands(host: string, port: number, ca: string): Promise<Answered> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket: TLSSocket = connectTls({
    ...{ host: host.replace(/^\[|\]$/g, ''), port, timeout: TIMEOUT_MS },
    ...pinnedTls(ca, INTERNAL_SERVER_NAME),
  });
  socket.once('secureConnect', resolve);
  socket.on('error', reject);
  socket.once('timeout', () => reject(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })));
  try {
    await promise;
    return { status: 200, detail: 'it asks for the certificate of an agent' };
  } catch (error) {
    const { failure, message } = explainNetworkError(error, `${host}:${port}`);
    throw new UnreachableError(failure, message, error);
  } finally {
    socket.destroy();
  }
}

async function rootsOf(api: ApiClient): Promise<string> {
  const { trust } = api;
  if (trust.kind === 'internal') return trust.ca;
  return await read(await api.stream('/ca.pem', { accept: '*/*', timeoutMs: TIMEOUT_MS }));
}

function portOf(url: URL, standard: number): number {
  if (url.port !== '') return Number(url.port);
  return url.protocol === 'http:' ? 80 : standard;
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
}
