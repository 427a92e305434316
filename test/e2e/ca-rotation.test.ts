/** The CA's root is replaced under running hosts, in steps that can be taken back; at the end the old one counts no more. */
import assert from 'node:assert/strict';
import { cp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import tls from 'node:tls';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { certificateBlocks, firstCertificate } from '../../certs/pem.ts';
import { spkiPin } from '../../certs/pin.ts';
import { rootsIn } from '../../certs/trust.ts';
import { runCliHere } from '../support/cli.ts';
import { testContainer } from '../support/docker.ts';
import { Api, fetchBlindly } from '../support/http.ts';
import { type Launched, run } from '../support/launcher.ts';
import {
  type Enrolled,
  enroll,
  newToken,
  restartServer,
  type Server,
  startAgent,
  startServer,
  waitForState,
} from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { PATIENT_MS, waitFor } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;
let env: Record<string, string>;
let awake: Enrolled & { process: Launched };
let asleep: Enrolled;
let sleeper: Launched;
/** Enrolled by the old root, and started long after the new one has taken over. */
let late: Enrolled;
let leaver: Enrolled;
/** A pair of the old root that was superseded. */
let copy: string;
let oldRoot: string;
let oldPin: string;
let oldToken: string;
/** The lines of the counting container's log that have come. */
let lines: () => string[];
let cut: Promise<string>;

before(async () => {
  server = await startServer(shared);
  oldRoot = server.caPem;
  oldPin = server.runtime.caFingerprint;
  awake = await joined('awake');
  asleep = await enroll(shared, server, 'asleep');
  late = await enroll(shared, server, 'late');
  leaver = await enroll(shared, server, 'leaver');
  copy = join(await tempDir(shared, 'copy'), 'state');
  await cp(awake.stateDir, copy, { recursive: true, filter: (path) => !/run\.json|\.tmp$/.test(path) });
  oldToken = (await readFile(join(server.dataDir, 'admin-token'), 'utf8')).trim();
  env = { XDG_CONFIG_HOME: await tempDir(shared, 'config') };
  await cli('--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token'), 'login');
  const loop = ['/bin/sh', '-c', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done'];
  const { id } = await testContainer(shared, { cmd: loop });
  const log = await server.api.open('GET', `/api/v1/hosts/awake/containers/${id}/logs?follow=1`);
  let text = '';
  lines = () => text.split('\n').slice(0, -1);
  cut = new Promise((resolve) => {
    log.once('error', () => resolve('error'));
    log.once('end', () => resolve('end'));
    log.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  });
});

/** As `waitFor`, but for a machine that is busy with other tests. */
function eventually<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  return waitFor(what, condition);
}

async function joined(name: string): Promise<Enrolled & { process: Launched }> {
  const agent = await enroll(shared, server, name);
  const process = startAgent(shared, agent);
  await waitForState(server, name, 'online');
  return { ...agent, process };
}

/** A command with the login that was stored before anything changed. */
async function cli(...args: string[]): Promise<string> {
  const done = await runCliHere(args, { env });
  assert.equal(done.exit.code, 0, done.transcript());
  return done.stdout;
}

async function refusedCli(...args: string[]): Promise<string> {
  const done = await runCliHere(args, { env });
  assert.equal(done.exit.code, 1, done.transcript());
  return done.stderr;
}

async function streamFlows(): Promise<void> {
  const seen = lines().length;
  await eventually('more of the log', () => lines().length > seen + 20);
  for (const [index, line] of lines().entries()) assert.equal(line, String(index), 'no line is lost or comes twice');
}

/** A client that trusts what the server publishes now; to be used where the pin is not what is tested. */
async function freshApi(): Promise<Api> {
  const { text } = await fetchBlindly(new URL('/ca.pem', server.runtime.apiUrl).href);
  return new Api({ url: server.runtime.apiUrl, ca: text, token: server.adminToken });
}

async function pinsOf(agent: Enrolled): Promise<string[]> {
  return rootsIn(await readFile(join(agent.stateDir, 'ca.pem'), 'utf8')).map(({ pin }) => pin);
}

async function pinInRecord(agent: Enrolled): Promise<string> {
  return JSON.parse(await readFile(join(agent.stateDir, 'agent.json'), 'utf8')).caFingerprint;
}

async function published(): Promise<string[]> {
  const { text } = await fetchBlindly(new URL('/ca.pem', server.runtime.apiUrl).href);
  return certificateBlocks(text);
}

/** Whether whoever trusts `ca` alone accepts the server on both ports. */
async function isVerifiedBy(ca: string): Promise<boolean[]> {
  return await Promise.all(
    [server.runtime.apiUrl, server.runtime.agentUrl].map((target) => {
      const { hostname: host, port } = new URL(target);
      const socket = tls.connect({ host, port: Number(port), ca, servername: INTERNAL_SERVER_NAME });
      return new Promise<boolean>((resolve) => {
        socket.once('secureConnect', () => resolve(true));
        socket.once('error', () => resolve(false));
      }).finally(() => socket.destroy());
    }),
  );
}

async function enrollBy(cleanup: Cleanup, token: string, name: string): Promise<Enrolled> {
  const stateDir = join(await tempDir(cleanup, 'agent'), 'state');
  const args = ['enroll', '--server', server.runtime.apiUrl, '--token', token, '--name', name, '--state-dir', stateDir];
  const done = await run(cleanup, 'agent', args);
  assert.equal(done.exit.code, 0, done.transcript());
  return { stateDir, hostId: '', name };
}

let tokenOfBefore: string;
let newborn: Enrolled & { process: Launched };

test('a published root reaches the host that is connected, and can be taken back', async () => {
  assert.match(await cli('ca', 'rotate'), /Phase: +published/);
  const status = await eventually('the word of the host', async () => {
    const { body } = await server.api.get('/api/v1/ca/rotation');
    return body.acknowledged === 1 ? body : undefined;
  });
  assert.deepEqual(
    status.unacknowledged.map(({ name }: { name: string }) => name),
    ['asleep', 'late', 'leaver'],
  );
  assert.equal((await pinsOf(awake)).length, 2);
  assert.equal(await pinInRecord(awake), oldPin);
  assert.equal((await published()).length, 3);
  await streamFlows();
  assert.deepEqual(await isVerifiedBy(oldRoot), [true, true]);

  assert.match(await cli('ca', 'rotate', '--abort'), /Phase: +stable/);
  await eventually('one root at the host', async () => (await pinsOf(awake)).length === 1);
  assert.deepEqual(await pinsOf(awake), [oldPin]);
  assert.equal((await published()).length, 1);
  await streamFlows();
});

test('an activated root issues; who knows the old one is led to it, tokens, logins and hosts alike', async () => {
  tokenOfBefore = (await newToken(server)).token;
  await cli('ca', 'rotate');
  await eventually('two roots at the host', async () => (await pinsOf(awake)).length === 2);
  await cli('ca', 'rotate', '--activate');
  const [newRoot = ''] = await published();
  assert.deepEqual(await isVerifiedBy(newRoot), [true, true]);
  assert.deepEqual(await isVerifiedBy(oldRoot), [false, false]);
  await streamFlows();

  // The stored login knew the old root alone.
  assert.match(await cli('host', 'ls'), /awake/);
  const early = await enrollBy(shared, tokenOfBefore, 'early');
  assert.equal(await pinInRecord(early), spkiPin(newRoot));
  // The sleeper learns of the new root by itself, although it cannot verify the server.
  sleeper = startAgent(shared, asleep);
  server.api = await freshApi();
  await waitForState(server, 'asleep', 'online');
  await eventually('the sleeper to follow', async () => (await pinInRecord(asleep)) === spkiPin(newRoot));
  const adminToken = (await readFile(join(server.dataDir, 'admin-token'), 'utf8')).trim();
  assert.notEqual(adminToken, oldToken);
  const runtime = JSON.parse(await readFile(join(server.dataDir, 'runtime.json'), 'utf8'));
  assert.equal(runtime.caFingerprint, spkiPin(newRoot));
  server = { ...server, runtime, adminToken };
  newborn = await joined('newborn');
  assert.equal(await pinInRecord(newborn), spkiPin(newRoot));
});

test('a host that knows the old root alone can still tell its state, and leave', async (t) => {
  const status = ['status', '--state-dir', leaver.stateDir];
  assert.match((await run(t, 'agent', status)).stdout, new RegExp(`CA +${oldPin}`));
  const left = await run(t, 'agent', ['unenroll', '--state-dir', leaver.stateDir]);
  assert.equal(left.exit.code, 0, left.transcript());
  assert.deepEqual(await readdir(leaver.stateDir), []);
  await waitForState(server, 'leaver', 'revoked', PATIENT_MS);
  const { stdout } = await run(t, 'agent', ['status', '--state-dir', awake.stateDir]);
  assert.match(stdout, /session +online/);
});

test('a step back from there leads everyone back, the newcomer as well', async () => {
  const [newRoot = ''] = await published();
  assert.match(await cli('ca', 'rotate', '--abort'), /Phase: +published/);
  assert.deepEqual(await isVerifiedBy(oldRoot), [true, true]);
  await eventually('the newcomer to trust the old root', async () => (await pinInRecord(newborn)) === oldPin);
  await streamFlows();
  await newborn.process.stop();
  newborn = { ...newborn, process: startAgent(shared, newborn) };
  await waitForState(server, 'newborn', 'online');
  // A certificate of the root that would be dropped, and nobody there who could renew it.
  assert.match(await refusedCli('ca', 'rotate', '--abort'), /early.*\(CONFLICT\)/);

  assert.match(await cli('ca', 'rotate', '--activate'), /Phase: +activated/);
  assert.deepEqual(await isVerifiedBy(newRoot), [true, true]);
  await eventually('the host to follow', async () => (await pinInRecord(awake)) === spkiPin(newRoot));
  for (const name of ['awake', 'asleep', 'newborn']) await waitForState(server, name, 'online');
});

test('hosts renew by themselves, one that was away as well, and then the old root is retired without force', async () => {
  const refusal = await refusedCli('ca', 'rotate', '--retire');
  assert.match(refusal, /CONFLICT/);
  assert.match(refusal, /late/);
  assert.doesNotMatch(refusal, /early/);
  startAgent(shared, late);
  await eventually('certificates of the new root for all', async () => {
    const { unacknowledged, otherCertificates } = (await server.api.get('/api/v1/ca/rotation')).body;
    return unacknowledged.length === 0 && otherCertificates.length === 0;
  });
  const { connectedAt } = (await server.api.get('/api/v1/hosts/awake')).body;
  assert.match(await cli('ca', 'rotate', '--retire'), /Phase: +stable/);
  await streamFlows();
  assert.equal(await Promise.race([cut, Promise.resolve('open')]), 'open');
  for (const name of ['awake', 'asleep', 'late', 'newborn']) await waitForState(server, name, 'online');
  assert.equal((await server.api.get('/api/v1/hosts/awake')).body.connectedAt, connectedAt, 'by the same session');
  assert.equal((await published()).length, 1);
  for (const agent of [awake, late, newborn]) {
    await eventually(`one root at ${agent.name}`, async () => (await pinsOf(agent)).length === 1);
  }
  // TLS itself refuses what was good under the old root; its host is not put into quarantine for it.
  assert.match(await knock(copy), /closed|reset|alert|ECONNRESET/i);
  assert.equal((await server.api.get('/api/v1/hosts/awake')).body.state, 'online');
});

/** What comes of asking for something on the agents' port by the pair in `stateDir`. */
async function knock(stateDir: string): Promise<string> {
  const [cert, key] = await Promise.all(['cert.pem', 'key.pem'].map((file) => readFile(join(stateDir, file), 'utf8')));
  const { hostname: host, port } = new URL(server.runtime.agentUrl);
  const trust = { rejectUnauthorized: false, servername: INTERNAL_SERVER_NAME };
  const socket = tls.connect({ host, port: Number(port), cert, key, ...trust });
  return await new Promise<string>((resolve) => {
    socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
    socket.once('data', (data) => resolve(String(data)));
    socket.once('error', (error) => resolve(String(error)));
    socket.once('close', () => resolve('closed'));
  }).finally(() => socket.destroy());
}

test('tokens and logins of a retired root count no more', async (t) => {
  assert.match(await cli('host', 'ls'), /newborn/);
  const context = JSON.parse(await readFile(join(env['XDG_CONFIG_HOME'] ?? '', 'fairlead/context.json'), 'utf8'));
  assert.equal(rootsIn(context.trust.ca).length, 1);
  assert.equal(spkiPin(firstCertificate(context.trust.ca)), server.runtime.caFingerprint);
  const options = { env: { FAIRLEAD_API_TOKEN: oldToken, XDG_CONFIG_HOME: await tempDir(t, 'config') } };
  const stale = await runCliHere(['--server', server.runtime.apiUrl, 'host', 'ls'], options);
  assert.match(stale.stderr, /from before the CA was changed \(make a new one\)/);
  assert.equal(stale.exit.code, 1);
  const file = join(server.dataDir, 'admin-token');
  const current = await runCliHere(['--server', server.runtime.apiUrl, '--api-token-file', file, 'host', 'ls']);
  assert.equal(current.exit.code, 0, current.transcript());

  const stateDir = join(await tempDir(t, 'agent'), 'state');
  const args = ['enroll', '--server', server.runtime.apiUrl, '--token', tokenOfBefore, '--state-dir', stateDir];
  const late = await run(t, 'agent', args);
  assert.match(late.stderr, /from before the CA was changed/);
  const audit = (await server.api.get('/api/v1/audit?limit=100')).text;
  for (const action of ['ca.publish', 'ca.activate', 'ca.abort', 'ca.retire'])
    assert.ok(audit.includes(action), action);
});

test('a server that is killed comes back, and forcing the next step locks out who was not there', async () => {
  server.api = await freshApi();
  const [root = ''] = await published();
  server = await restartServer(shared, server, 'kill');
  assert.deepEqual(await isVerifiedBy(root), [true, true]);
  for (const name of ['awake', 'asleep', 'late', 'newborn']) await waitForState(server, name, 'online');
  await sleeper.stop();
  await cli('ca', 'rotate');
  await cli('ca', 'rotate', '--activate');
  server = await restartServer(shared, server, 'kill');
  assert.equal((await server.api.get('/api/v1/ca')).body.phase, 'activated');
  assert.match(await refusedCli('ca', 'rotate', '--retire'), /asleep/);
  assert.match(await cli('ca', 'rotate', '--retire', '--force'), /Phase: +stable/);
  // It knows the old root alone, which vouches for nobody any more.
  await startAgent(shared, asleep).waitForOutput(/"code":"tls"/, PATIENT_MS);
});
