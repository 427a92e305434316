/** The agents' port with nothing behind it: a test says which certificates are active. */
import { createPrivateKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import { createCsr, readCsr } from '../../certs/csr.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { HostRegistry } from '../../server/hosts/registry.ts';
import { AgentListener } from '../../server/mesh/agent-listener.ts';
import { type Clock, systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { CATALOGUE, SUBPROTOCOL } from '../../shared/messages/index.ts';
import { greetServer } from '../../shared/mux/handshake.ts';
import { Session } from '../../shared/mux/session.ts';
import { WS_OPTIONS, wsTransport } from '../../shared/mux/ws-transport.ts';
import { type TestCa, testCa } from '../unit/certs/fixtures.ts';
import { HELLO } from './mux.ts';

const log = pino({ level: 'silent' });

export interface Pair {
  key: string;
  cert: string;
}

export const own = await testCa();
const served = await own.ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
/** The server's own certificate and key. */
export const leaf: Pair = { key: served.keyPem, cert: served.certPem };

/** What an agent of `ca` proves itself with; it is not active before the test says so. */
export async function agentPair(
  ca: TestCa,
  hostId: string = randomUUID(),
): Promise<Pair & { hostId: string; serial: string }> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const { spki } = await readCsr(await createCsr(createPrivateKey(key)));
  const { installationId } = ca;
  const issued = await ca.ca.issueAgent({ spki, hostId, installationId, clock: systemClock });
  return { key, cert: issued.certPem, hostId, serial: issued.serial };
}

export interface BareListener {
  port: number;
  /** The serials that may connect. */
  active: Set<string>;
  registry: HostRegistry;
  listener: AgentListener;
  /** The hosts that have left by themselves. */
  left: string[];
}

/** @param options.revoked the serials that are refused as revoked, not as unknown */
export async function bareListener(
  t: TestContext,
  options: { clock?: Clock; revoked?: Set<string> } = {},
): Promise<BareListener> {
  const { clock = systemClock, revoked = new Set() } = options;
  const active = new Set<string>();
  const left: string[] = [];
  const registry = new HostRegistry();
  const listener = new AgentListener({
    clock,
    log,
    random: () => 0.5,
    registry,
    serverVersion: '0.1.0',
    installationId: own.installationId,
    caPem: own.ca.certPem,
    tls: leaf,
    isActive: (serial) => active.has(serial),
    refusal: async (serial) =>
      new FairleadError(revoked.has(serial) ? 'CERT_REVOKED' : 'CERT_UNKNOWN', 'the certificate is not active'),
    isForged: async () => false,
    use: async () => undefined,
    renew: async () => {
      throw new FairleadError('UNSUPPORTED', 'no renewal here');
    },
    hostName: async () => 'alpha',
    leave: async (hostId) => {
      left.push(hostId);
    },
  });
  const port = await listener.listen('127.0.0.1', 0);
  t.after(() => listener.close(0));
  return { port, active, registry, listener, left };
}

/** How an agent knows the server. */
export const trust = () => ({ ca: own.ca.certPem, servername: INTERNAL_SERVER_NAME });

export interface Refusal {
  status: number | undefined;
  code: string | undefined;
}

/** Connects as an agent; what a refusal says, or the open WebSocket. */
export async function dial(t: TestContext, port: number, pair: Pair, path = '/agent', protocol = SUBPROTOCOL) {
  const ws = new WebSocket(`wss://127.0.0.1:${port}${path}`, protocol, { ...trust(), ...pair, ...WS_OPTIONS });
  t.after(() => ws.terminate());
  return await new Promise<{ ws: WebSocket; refusal?: Refusal }>((resolve, reject) => {
    ws.once('open', () => resolve({ ws }));
    ws.once('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => {
        const code =
          response.headers['content-type'] === 'application/problem+json' ? JSON.parse(body).code : undefined;
        resolve({ ws, refusal: { status: response.statusCode, code } });
      });
    });
    ws.once('error', reject);
  });
}

export function sessionOn(ws: WebSocket): Session {
  const ignore = () => undefined;
  const common = { catalogue: CATALOGUE, clock: systemClock, onStream: ignore, onControl: ignore };
  return new Session({ side: 'agent', transport: wsTransport(ws), ...common });
}

/** An agent's session that was greeted. */
export async function connect(t: TestContext, port: number, pair: Pair, instanceId = 'instance'): Promise<Session> {
  const { ws } = await dial(t, port, pair);
  const session = sessionOn(ws);
  await greetServer(session, { ...HELLO, instanceId });
  return session;
}
