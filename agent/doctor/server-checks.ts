/** The way from this host to its server: the API, which is needed at times, and the agents' port, which is needed always. */
import type { Agent } from 'node:https';
import Type from 'typebox';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { type Check, ok, warn } from '../../shared/doctor/check.ts';
import { clockCheck } from '../../shared/doctor/clocks.ts';
import { type Answered, reach } from '../../shared/doctor/reach.ts';
import { requestPinned } from '../../shared/pinned-http.ts';
import { compareVersions } from '../../shared/releases/version-order.ts';
import { fits } from '../../shared/validate.ts';
import { VERSION } from '../../shared/version.ts';
import type { Identity } from '../identity/state-dir.ts';

const TIMEOUT_MS = 10_000;
/** A header `Date` has whole seconds, cut off. */
const DATE_MS = 500;
/** What the agents' port says to whoever asks for no session. */
const NO_SESSION = 426;
const Health = Type.Object({ version: Type.String() });

export interface ServerCheckDeps {
  /** Goes through a proxy where one is configured. */
  readonly httpsAgent: Agent;
  /** That proxy, `host:port`. */
  readonly proxy: string | undefined;
  readonly now: () => number;
}

export async function serverChecks(identity: Identity, deps: ServerCheckDeps): Promise<Check[]> {
  return [...(await apiChecks(identity, deps)), ...(await agentPortChecks(identity, deps))];
}

async function apiChecks({ record, caPem }: Identity, deps: ServerCheckDeps): Promise<Check[]> {
  const url = new URL(record.server);
  let version: string | undefined;
  const { checks, answer } = await reach({
    ...{ id: 'api', what: `the API at ${url.host}`, host: url.hostname, port: portOf(url), proxy: deps.proxy },
    ask: async () => {
      const health = `${record.server.replace(/\/$/, '')}/healthz`;
      const { status, headers, body } = await get(health, caPem, deps);
      version = fits(Health, body) ? body.version : undefined;
      return { status, date: headers.date, ...(version === undefined ? {} : { detail: `fairlead-server ${version}` }) };
    },
    isGood: (status) => status === 200,
  });
  if (answer === undefined) return checks.map(needless);
  return [...checks, ...clockOf(answer, deps.now()), ...versionsOf(version)];
}

/** A session lives without the API: what it does not reach is no failure of it. */
function needless(check: Check): Check {
  if (check.level !== 'fail') return check;
  const why =
    'a session does without the API, but enrolling, coming back after an expiry and a rotation of the root do not';
  return { ...check, level: 'warn', advice: `${check.advice ?? ''}; ${why}` };
}

function clockOf({ date }: Answered, now: number): Check[] {
  const at = Date.parse(date ?? '');
  return Number.isNaN(at) ? [] : [clockCheck('clock', now - at - DATE_MS)];
}

function versionsOf(version: string | undefined): Check[] {
  if (version === undefined || !/^\d+\.\d+\.\d+/.test(version)) return [];
  const order = compareVersions(VERSION, version);
  if (order === 0) return [ok('versions', `agent and server are both of version ${VERSION}`)];
  const summary = `this agent is ${VERSION}, the server ${version}`;
  const advice =
    order < 0 ? 'upgrade this agent: `fairlead agent upgrade`, or install.sh --upgrade' : 'upgrade the server';
  return [warn('versions', summary, `${advice}; one minor version back and forth is supported`)];
}

async function agentPortChecks({ record, caPem, certPem, keyPem }: Identity, deps: ServerCheckDeps): Promise<Check[]> {
  const url = new URL(record.agentUrl);
  const { checks } = await reach({
    ...{ id: 'agents', what: `the agents' port ${url.host}`, host: url.hostname, port: portOf(url), proxy: deps.proxy },
    ask: async () => {
      const { status } = await get(`https://${url.host}/`, caPem, deps, { cert: certPem, key: keyPem });
      return { status, ...(status === NO_SESSION ? { detail: "it takes this host's certificate" } : {}) };
    },
    isGood: (status) => status === NO_SESSION,
  });
  return checks;
}

async function get(url: string, ca: string, deps: ServerCheckDeps, client?: { cert: string; key: string }) {
  return await requestPinned({
    ...{ url, ca, method: 'GET', servername: INTERNAL_SERVER_NAME, agent: deps.httpsAgent, timeoutMs: TIMEOUT_MS },
    ...(client === undefined ? {} : { client }),
  });
}

function portOf(url: URL): number {
  return url.port === '' ? 443 : Number(url.port);
}
