/** Certificates that run out: a session ends with its own, and a host that was away comes back once somebody says so. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { WebSocket } from 'ws';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { systemClock } from '../../shared/clock.ts';
import { CATALOGUE, SUBPROTOCOL } from '../../shared/messages/index.ts';
import { greetServer } from '../../shared/mux/handshake.ts';
import { Session } from '../../shared/mux/session.ts';
import { WS_OPTIONS, wsTransport } from '../../shared/mux/ws-transport.ts';
import { runCliHere } from '../support/cli.ts';
import { run } from '../support/launcher.ts';
import {
  type Enrolled,
  enroll,
  restartServer,
  type Server,
  startAgent,
  startServer,
  waitForState,
} from '../support/mesh.ts';
import { HELLO } from '../support/mux.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

/** As short as it may be: these hosts are to run out. */
const LIFE = ['--agent-cert-life', '10s'];
const shared = fileCleanup();
let server: Server;
let hosts: Enrolled[];

before(async () => {
  server = await startServer(shared, { args: LIFE });
  hosts = await Promise.all(['hostile', 'away', 'denied', 'policy'].map((name) => enroll(shared, server, name)));
});

async function cli(...args: string[]): Promise<string> {
  const options = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  const ended = await runCliHere([...options, ...args]);
  assert.equal(ended.exit.code, 0, ended.transcript());
  return ended.stdout;
}

function hostNamed(name: string): Enrolled {
  const found = hosts.find((host) => host.name === name);
  assert.ok(found);
  return found;
}

async function recoveryOf(name: string): Promise<{ id: string; state: string } | undefined> {
  const { body } = await server.api.get('/api/v1/recoveries');
  return body.items.find((row: { hostName: string }) => row.hostName === name);
}

async function expiryOf(name: string): Promise<number> {
  return Date.parse((await server.api.get(`/api/v1/hosts/${name}`)).body.certificate.notAfter);
}

test('a session whose agent renews nothing ends within 5 s of the expiry', async (t) => {
  const { stateDir } = await enroll(t, server, 'stubborn');
  const [cert, key] = await Promise.all(['cert.pem', 'key.pem'].map((file) => readFile(join(stateDir, file), 'utf8')));
  const trust = { ca: server.caPem, servername: INTERNAL_SERVER_NAME, ...WS_OPTIONS };
  const ws = new WebSocket(server.runtime.agentUrl, SUBPROTOCOL, { ...trust, cert, key });
  await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject));
  const ignore = () => undefined;
  const common = { catalogue: CATALOGUE, clock: systemClock, onStream: ignore, onControl: ignore };
  const session = new Session({ side: 'agent', transport: wsTransport(ws), ...common });
  await greetServer(session, HELLO);
  const expiry = await expiryOf('stubborn');
  const end = await within(20_000, 'the end of the session', session.closed);
  assert.equal(end.code, 'CERT_EXPIRED');
  assert.ok(Date.now() >= expiry - 1_000 && Date.now() < expiry + 5_000, `${Date.now() - expiry} ms after its expiry`);
});

test('a host that was away for too long waits, is approved, and comes back as the one it was', async (t) => {
  const host = hostNamed('away');
  await waitFor('the expiry', async () => Date.now() > (await expiryOf('away')));
  const before = (await server.api.get('/api/v1/hosts/away')).body;
  const agent = startAgent(t, host);
  await waitFor('its request', () => recoveryOf('away'), { context: () => agent.transcript() });
  const status = await run(t, 'agent', ['status', '--state-dir', host.stateDir]);
  assert.match(status.stdout, /recovering since .*expired on .*approve/, status.stdout);
  assert.match(await cli('host', 'recoveries'), /away +pending/);
  assert.match(await cli('host', 'approve', 'away'), /Approved away/);
  const after = await waitForState(server, 'away', 'online');
  assert.equal(after['id'], before.id);
  assert.notEqual((after['certificate'] as { serial: string }).serial, before.certificate.serial);
  assert.equal(agent.exit, undefined);
});

test('a host that is denied gives up with 5 and says why', async (t) => {
  const agent = startAgent(t, hostNamed('denied'));
  const asked = await waitFor('its request', () => recoveryOf('denied'));
  await server.api.post(`/api/v1/recoveries/${asked.id}/deny`);
  const end = await within(60_000, 'the end of the agent', agent.exited, () => agent.transcript());
  assert.equal(end.code, 5, agent.transcript());
  assert.match(agent.stderr, /an administrator has denied this host a new certificate; enroll this host again/);
});

test('policy lets a host back in that expired a short while ago', async (t) => {
  server = await restartServer(shared, server, 'kill', [...LIFE, '--recover-within', '1h']);
  startAgent(t, hostNamed('policy'));
  await waitForState(server, 'policy', 'online');
  assert.deepEqual(
    (await server.api.get('/api/v1/recoveries')).body.items.map((row: { state: string }) => row.state),
    ['denied'],
  );
});
