/** Where the way to a server stops, if it does: its name, TCP, TLS, its answer. */
import { lookup } from 'node:dns/promises';
import { connect, isIP } from 'node:net';
import { type FairleadError, isFairleadError } from '../errors.ts';
import { explainNetworkError, type NetworkFailure } from '../network-errors.ts';
import { UnreachableError } from '../pinned-http.ts';
import { type Check, fail, ok, warn } from './check.ts';

const TCP_TIMEOUT_MS = 5_000;
const DNS_TIMEOUT_MS = 5_000;
/** A round trip above it is told. */
const SLOW_MS = 500;

/** What came of asking a place that answers HTTP. */
export interface Answered {
  readonly status: number;
  /** Its header `Date`. */
  readonly date?: string | undefined;
  /** What else it says of itself, for the summary. */
  readonly detail?: string;
}

export interface Place {
  /** What the ids of its checks begin with: `api`. */
  readonly id: string;
  /** How sentences name it: `the API at fairlead:8440`. */
  readonly what: string;
  readonly host: string;
  readonly port: number;
  /** The proxy that the connection goes through, `host:port`. */
  readonly proxy?: string | undefined;
  /** Asks it, TLS included. @throws UnreachableError, or another FairleadError that it has answered */
  ask(): Promise<Answered>;
  /** Whether `status` is that of a place that works. */
  isGood(status: number): boolean;
}

export interface Reached {
  readonly checks: Check[];
  /** Undefined where the way stops before. */
  readonly answer?: Answered;
}

const ADVICE: Readonly<Partial<Record<NetworkFailure, string>>> = {
  refused:
    'look whether the server runs and listens there (--api-listen, --agent-listen), and at firewalls that reject',
  unreachable: 'look at the routes and the network of this machine',
  timeout: 'a firewall drops the connection, or the address is wrong: open the port, or give another address',
  tls: 'look which server answers there; after a new installation or restore enroll or log in anew, and look for what intercepts TLS',
  proxy: 'look at HTTPS_PROXY and at what the proxy permits, or name the server in NO_PROXY',
  closed: 'what listens there is another service, or a balancer without a server behind it',
};

/** Looks at each part of the way in its order, and stops where it does. */
export async function reach(place: Place): Promise<Reached> {
  const checks: Check[] = [];
  if (place.proxy === undefined) {
    for (const step of [nameCheck, tcpCheck]) {
      const check = await step(place);
      checks.push(check);
      if (check.level === 'fail') return { checks };
    }
  }
  return await answerCheck(place, checks);
}

async function nameCheck({ id, host }: Place): Promise<Check> {
  const name = `${id}.name`;
  const bare = host.replace(/^\[|\]$/g, '');
  if (isIP(bare) !== 0) return ok(name, `${bare} is an address`);
  try {
    const found = await withTimeout(lookup(bare, { all: true }), DNS_TIMEOUT_MS);
    return ok(name, `${bare} is ${found.map(({ address }) => address).join(', ')}`);
  } catch (error) {
    const { message } = explainNetworkError(error, bare);
    return fail(name, message, 'look at the name, at /etc/resolv.conf and /etc/hosts, or use an address');
  }
}

async function tcpCheck({ id, what, host, port }: Place): Promise<Check> {
  const name = `${id}.tcp`;
  const socket = connect({ host: host.replace(/^\[|\]$/g, ''), port });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once('connect', resolve);
  socket.once('error', reject);
  const since = performance.now();
  try {
    await withTimeout(promise, TCP_TIMEOUT_MS);
    const ms = performance.now() - since;
    const summary = `${what} takes connections (${ms.toFixed(1)} ms)`;
    return ms < SLOW_MS ? ok(name, summary) : warn(name, summary, 'the network is slow, or the server is under load');
  } catch (error) {
    const { failure, message } = explainNetworkError(error, what);
    return fail(name, message, ADVICE[failure] ?? 'look at the network between here and there');
  } finally {
    socket.destroy();
  }
}

async function answerCheck(place: Place, checks: Check[]): Promise<Reached> {
  const { id, what, proxy } = place;
  const way = proxy === undefined ? '' : `, through the proxy ${proxy} unless NO_PROXY says otherwise,`;
  const since = performance.now();
  try {
    const answer = await place.ask();
    const ms = (performance.now() - since).toFixed(0);
    checks.push(ok(`${id}.tls`, `${what}${way} is the server that is trusted here`));
    checks.push(statusCheck(place, answer, ms));
    return { checks, answer };
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    checks.push(unreached(place, error));
    return { checks };
  }
}

function statusCheck({ id, what, isGood }: Place, { status, detail }: Answered, ms: string): Check {
  const said = detail === undefined ? '' : `: ${detail}`;
  if (isGood(status)) return ok(`${id}.answer`, `${what} answers after ${ms} ms${said}`);
  const summary = `${what} answers ${status}${said}`;
  const advice =
    status === 503
      ? 'the server is starting, stopping, or a part of it does not work: see /readyz and its log'
      : 'something else may answer in its place: look at proxies and balancers between here and the server';
  return fail(`${id}.answer`, summary, advice);
}

function unreached({ id }: Place, error: FairleadError): Check {
  if (!(error instanceof UnreachableError)) {
    return fail(
      `${id}.answer`,
      `${error.message} (${error.code})`,
      'see server/TROUBLESHOOTING.md for what the code means',
    );
  }
  const step = error.failure === 'tls' ? 'tls' : error.failure === 'dns' ? 'name' : 'answer';
  return fail(`${id}.${step}`, error.message, ADVICE[error.failure] ?? 'look at the network between here and there');
}

/** @throws an error that `explainNetworkError` takes for a timeout */
async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = setTimeout(() => reject(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })), ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(late);
  }
}
