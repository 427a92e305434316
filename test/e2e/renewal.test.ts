/** Renewal under way: nothing that runs over a session notices, what was superseded is refused, and a copy is found out. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { SUBPROTOCOL } from '../../shared/messages/index.ts';
import { runCliHere } from '../support/cli.ts';
import { testContainer } from '../support/docker.ts';
import { ExecClient } from '../support/exec-client.ts';
import type { Launched } from '../support/launcher.ts';
import { type Enrolled, enroll, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

/** Short, but long enough for programs to start on a busy machine. */
const LIFE_MS = 30_000;
const START_MS = 60_000;
/** Who was turned away looks in again 15 to 30 s later. */
const COMES_BACK_MS = 45_000;
const shared = fileCleanup();
let server: Server;

before(async () => {
  // Lives this short run out while a host waits in quarantine; policy then gives it another one.
  const args = ['--agent-cert-life', `${LIFE_MS / 1000}s`, '--recover-within', '1h'];
  server = await startServer(shared, { args });
});

async function hostOf(name: string) {
  return (await server.api.get(`/api/v1/hosts/${name}`)).body;
}

async function serialOf(name: string): Promise<string> {
  return (await hostOf(name)).certificate.serial;
}

async function renewed(name: string, from: string): Promise<string> {
  const look = async () => {
    const serial = await serialOf(name);
    return serial !== from && serial;
  };
  return await waitFor(`another certificate of ${name}`, look, { timeoutMs: 2 * LIFE_MS, everyMs: 200 });
}

async function stateOf(serial: string): Promise<string> {
  const { items } = (await server.api.get('/api/v1/certificates?limit=100')).body;
  return items.find((row: { serial: string }) => row.serial === serial).state;
}

async function cli(...args: string[]): Promise<string> {
  const options = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  const ended = await runCliHere([...options, ...args]);
  assert.equal(ended.exit.code, 0, ended.transcript());
  return ended.stdout;
}

/** Asks for a session by the pair in `stateDir`. @returns the code of the refusal, if it is refused */
async function knock(stateDir: string): Promise<string | undefined> {
  const [cert, key] = await Promise.all(['cert.pem', 'key.pem'].map((file) => readFile(join(stateDir, file), 'utf8')));
  const trust = { ca: server.caPem, servername: INTERNAL_SERVER_NAME };
  const ws = new WebSocket(server.runtime.agentUrl, SUBPROTOCOL, { ...trust, cert, key, perMessageDeflate: false });
  return await new Promise((resolve, reject) => {
    ws.once('open', () => {
      ws.terminate();
      resolve(undefined);
    });
    ws.once('error', reject);
    ws.once('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve(JSON.parse(body).code));
    });
  });
}

/** Enrolls a host and starts its agent, with patience: others may start at the same moment. */
async function online(t: Cleanup, name: string): Promise<Enrolled & { process: Launched }> {
  const host = await enroll(t, server, name);
  const started = startAgent(t, host);
  await waitForState(server, name, 'online', START_MS);
  return { ...host, process: started };
}

async function copyOf(t: Cleanup, stateDir: string): Promise<string> {
  const copy = join(await tempDir(t, 'copy'), 'state');
  await waitFor('the new pair to be in place', () => !existsSync(join(stateDir, 'renewal.json')), { everyMs: 5 });
  await cp(stateDir, copy, { recursive: true, filter: (path) => !/run\.json|\.tmp$/.test(path) });
  return copy;
}

describe('renewal', { concurrency: true }, () => {
  it('begins so long before the end as --renew-before says, if that is less than half of the life', async (t) => {
    const host = await enroll(t, server, 'late');
    startAgent(t, host, ['--renew-before', '6s']);
    const { serial, notAfter } = (await hostOf('late')).certificate;
    await renewed('late', serial);
    const laterMs = Date.parse((await hostOf('late')).certificate.notAfter) - Date.parse(notAfter);
    assert.ok(laterMs >= LIFE_MS - 8_000, `it was renewed after ${laterMs} ms of ${LIFE_MS}`);
  });

  it('interrupts neither a log nor an exec, and the superseded pair opens nothing any more', async (t) => {
    const agent = await online(t, 'alpha');
    const count = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done';
    const { id } = await testContainer(t, { cmd: ['sh', '-c', count] });
    const log = await server.api.open('GET', `/api/v1/hosts/alpha/containers/${id}/logs?follow=1&resume=0`);
    let text = '';
    log.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    const cut = new Promise<string>((resolve) => {
      log.once('error', () => resolve('error'));
      log.once('end', () => resolve('end'));
    });
    const exec = await ExecClient.open(server.api, 'alpha', id, { cmd: ['cat'] });
    const { connectedAt, certificate } = await hostOf('alpha');
    const second = await renewed('alpha', certificate.serial);
    const copy = await copyOf(t, agent.stateDir);
    const third = await renewed('alpha', second);
    exec.type('still here\n');
    await exec.waitForOutput(/still here\n/);
    const length = text.length;
    await waitFor('more of the log', () => text.length > length);
    const lines = text.split('\n').slice(0, -1);
    assert.ok(lines.length > 100);
    for (const [index, line] of lines.entries()) assert.equal(line, String(index), 'no line is lost or comes twice');
    assert.equal((await hostOf('alpha')).connectedAt, connectedAt, 'the session is the same one');
    exec.webSocket.terminate();
    assert.deepEqual(await Promise.all([second, third].map(stateOf)), ['superseded', 'active']);

    assert.equal(await knock(copy), 'QUARANTINED');
    const knockedAt = performance.now();
    assert.equal(await within(2_000, 'the end of the session', cut, () => agent.process.transcript()), 'error');
    await waitForState(server, 'alpha', 'offline', 2_000 - (performance.now() - knockedAt));
    const { items } = (await server.api.get('/api/v1/audit?action=host.connect&result=refused')).body;
    const codes = items.map((row: { actor: string; detail: { code: string } }) => `${row.actor} ${row.detail.code}`);
    assert.ok(codes.includes('host:alpha QUARANTINED'), codes.join());
  });

  it('tells a copy from its host: both are kept out, and after a release the host alone comes back', async (t) => {
    const agent = await online(t, 'beta');
    const first = await serialOf('beta');
    const copy = await copyOf(t, agent.stateDir);
    await renewed('beta', first);
    const clone = startAgent(t, { ...agent, stateDir: copy });
    await waitForState(server, 'beta', 'offline', START_MS);
    const { quarantine } = await hostOf('beta');
    assert.match(quarantine.reason, new RegExp(`superseded certificate ${first} came back.*snapshot`));
    assert.match(await cli('host', 'ls'), /beta +quarantined/);
    await clone.waitForOutput(/in quarantine/, START_MS);
    await agent.process.waitForOutput(/in quarantine/);
    assert.equal(clone.exit, undefined, 'quarantine is not for ever');

    assert.match(await cli('host', 'release', 'beta'), /Released/);
    await waitForState(server, 'beta', 'online', COMES_BACK_MS);
    // By now TLS itself may find the copy's certificate expired.
    assert.equal(await knock(copy).catch(() => 'CERT_REVOKED'), 'CERT_REVOKED');
    assert.equal(await stateOf(first), 'revoked');
    assert.equal((await hostOf('beta')).state, 'online', 'the copy does not bring the quarantine back');
    const { items } = (await server.api.get('/api/v1/audit?limit=200')).body;
    const actions = new Set(items.map((row: { action: string }) => row.action));
    for (const action of ['certificate.renew', 'certificate.activate', 'host.quarantine', 'host.release']) {
      assert.ok(actions.has(action), action);
    }
  });
});
