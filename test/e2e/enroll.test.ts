/** Enrollment by real programs: every way to give a token, and every way in which it must fail and leave nothing behind. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCsr } from '../../certs/csr.ts';
import { formatToken, parseToken } from '../../certs/enrollment-token.ts';
import { type Launched, type LaunchOptions, launch, launchCommand, run } from '../support/launcher.ts';
import { addHost, modeOf, newToken, type Server, startServer } from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';
import { p256 } from '../unit/certs/fixtures.ts';

const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
});

async function enrollWith(
  t: Cleanup,
  args: string[],
  options: LaunchOptions & { url?: string } = {},
): Promise<{ enrolled: Launched; stateDir: string }> {
  const stateDir = join(await tempDir(t), 'state');
  const url = options.url ?? server.runtime.apiUrl;
  const enrolled = await run(t, 'agent', ['enroll', '--server', url, '--state-dir', stateDir, ...args], options);
  return { enrolled, stateDir };
}

async function hostNames(): Promise<string[]> {
  const { body } = await server.api.get('/api/v1/hosts?limit=100');
  return body.items.map((host: { name: string }) => host.name);
}

/** It failed with words for people, and neither a state directory nor a host came of it. */
async function assertRefused(t: Cleanup, args: string[], pattern: RegExp, url?: string): Promise<void> {
  const hosts = await hostNames();
  const { enrolled, stateDir } = await enrollWith(t, args, url === undefined ? {} : { url });
  assert.ok(enrolled.exit?.code === 1 || enrolled.exit?.code === 2, enrolled.transcript());
  assert.match(enrolled.stderr, pattern);
  assert.doesNotMatch(enrolled.stderr, /\n\s+at /);
  assert.ok(!existsSync(stateDir), `${stateDir} is left behind: ${existsSync(stateDir) && (await readdir(stateDir))}`);
  assert.deepEqual(await hostNames(), hosts);
}

test('a token as an argument, on stdin and in a file', async (t) => {
  const byArgument = await newToken(server);
  const { enrolled, stateDir } = await enrollWith(t, [
    '--token',
    byArgument.token,
    '--name',
    'by-argument',
    '--tag',
    'x',
  ]);
  assert.equal(enrolled.exit?.code, 0, enrolled.transcript());
  for (const file of ['key.pem', 'cert.pem', 'ca.pem', 'agent.json']) assert.ok(existsSync(join(stateDir, file)), file);
  assert.equal(await modeOf(join(stateDir, 'key.pem')), 0o600);
  assert.equal(await readFile(join(stateDir, 'ca.pem'), 'utf8'), server.caPem);

  const onStdin = await newToken(server);
  const input = `${onStdin.token}\n`;
  const second = await enrollWith(t, ['--token', '-', '--name', 'by-stdin'], { input });
  assert.equal(second.enrolled.exit?.code, 0, second.enrolled.transcript());

  const inFile = await newToken(server, { hostName: 'by-file', tags: ['from-token'] });
  const file = join(await tempDir(t), 'token');
  await writeFile(file, `${inFile.token}\n`, { mode: 0o600 });
  const third = await enrollWith(t, ['--token-file', file]);
  assert.equal(third.enrolled.exit?.code, 0, third.enrolled.transcript());

  const { body } = await server.api.get('/api/v1/hosts/by-file');
  assert.equal(body.state, 'pending');
  assert.deepEqual(body.tags, ['from-token']);
  assert.deepEqual((await server.api.get('/api/v1/hosts/by-argument')).body.tags, ['x']);
  const tokens = await server.api.get('/api/v1/enrollment-tokens');
  const states = new Map(tokens.body.items.map((one: { id: string; state: string }) => [one.id, one.state]));
  for (const { id } of [byArgument, onStdin, inFile]) assert.equal(states.get(id), 'used');
  for (const { token } of [byArgument, onStdin, inFile]) assert.ok(!tokens.text.includes(token));
});

/** What the process list shows of a program until it ends. */
async function argumentsOf(program: Launched): Promise<string> {
  let shown = '';
  while (program.exit === undefined) {
    // It may end in between.
    shown += await readFile(`/proc/${program.pid}/cmdline`, 'utf8').catch(() => '');
    await sleep(20);
  }
  return shown;
}

test('a token on stdin or in a file is in no process list', async (t) => {
  const file = join(await tempDir(t), 'token');
  for (const how of ['-', file]) {
    const { token } = await newToken(server);
    await writeFile(file, token, { mode: 0o600 });
    const given = how === '-' ? ['--token', '-'] : ['--token-file', file];
    const state = ['--state-dir', join(await tempDir(t), 'state')];
    const args = ['enroll', '--server', server.runtime.apiUrl, ...state, ...given];
    const enrolling = launch(t, 'agent', args, { input: token });
    const shown = await argumentsOf(enrolling);
    assert.equal(enrolling.exit?.code, 0, enrolling.transcript());
    assert.ok(shown.includes('enroll'), 'it was seen');
    for (const secret of [token, parseToken(token).secret.toString('base64url')]) assert.ok(!shown.includes(secret));
  }
});

test('a used token is refused', async (t) => {
  const { token } = await newToken(server);
  const first = await enrollWith(t, ['--token', token, '--name', 'only-once']);
  assert.equal(first.enrolled.exit?.code, 0, first.enrolled.transcript());
  await assertRefused(t, ['--token', token], /token/i);
});

/** What whoever has no agent sends. */
async function redeem(token: string) {
  const csr = await createCsr(p256().privateKey);
  const facts = { hostname: 'by-hand', os: 'linux', arch: 'x64', agentVersion: '1' };
  return await server.api.post('/api/v1/enroll', { ...facts, token, csr }, { token: null });
}

test('a used, a revoked, an expired and an unknown token are refused in the same way', async (t) => {
  const used = await newToken(server);
  assert.equal((await redeem(used.token)).status, 201);
  const revoked = await newToken(server);
  assert.ok((await server.api.delete(`/api/v1/enrollment-tokens/${revoked.id}`)).status < 300);
  await assertRefused(t, ['--token', revoked.token], /token/i);
  const unknown = formatToken({ ...parseToken(revoked.token), id: 'A'.repeat(22) });
  const brief = await newToken(server, { ttlSeconds: 1 });
  await waitFor('the token to expire', async () => {
    const { body } = await server.api.get('/api/v1/enrollment-tokens');
    return body.items.some((one: { id: string; state: string }) => one.id === brief.id && one.state === 'expired');
  });
  await assertRefused(t, ['--token', brief.token], /token/i);
  await assertRefused(t, ['--token', unknown], /token/i);
  const answers = await Promise.all([used.token, revoked.token, brief.token, unknown].map(redeem));
  for (const { status, body } of answers) {
    assert.equal(status, 401);
    assert.deepEqual({ ...body, requestId: '' }, { ...answers[0]?.body, requestId: '' });
  }
});

test('of many who redeem one token at once, one gets a certificate', async () => {
  const { token } = await newToken(server);
  const answers = await Promise.all(Array.from({ length: 20 }, () => redeem(token)));
  const issued = answers.filter(({ status }) => status === 201);
  assert.equal(issued.length, 1);
  for (const { status } of answers) assert.ok([201, 401, 429].includes(status), `${status}`);
});

test('a truncated, a mistyped and an empty token are refused before anything is sent', async (t) => {
  const { token, id } = await newToken(server);
  const middle = Math.floor(token.length / 2);
  const typo = token.slice(0, middle) + (token[middle] === 'a' ? 'b' : 'a') + token.slice(middle + 1);
  for (const bad of [token.slice(0, -5), token.slice(0, 20), typo, 'nonsense', '']) {
    await assertRefused(t, ['--token', bad], /token/i);
  }
  const { body } = await server.api.get('/api/v1/enrollment-tokens');
  assert.equal(body.items.find((one: { id: string }) => one.id === id).state, 'pending');
});

test('a fingerprint other than the CA’s is refused, and the token is not burnt', async (t) => {
  const { token, id } = await newToken(server);
  await assertRefused(t, ['--token', token, '--ca-fingerprint', `sha256:${'0'.repeat(64)}`], /fingerprint|CA/);
  const { body } = await server.api.get('/api/v1/enrollment-tokens');
  assert.equal(body.items.find((one: { id: string }) => one.id === id).state, 'pending');
});

test('the token of one installation does not enroll at another', async (t) => {
  const other = await startServer(t);
  const { token } = await newToken(other);
  await assertRefused(t, ['--token', token], /fingerprint|CA/);
});

test('a server that cannot be reached is named', async (t) => {
  const { token } = await newToken(server);
  await assertRefused(t, ['--token', token], /127\.0\.0\.1:1\b/, 'https://127.0.0.1:1');
  await assertRefused(t, ['--token', token], /no-such-host\.invalid/, 'https://no-such-host.invalid:8440');
});

test('a name that is taken is refused and the token can still be used', async (t) => {
  await enrollWith(t, ['--token', (await newToken(server)).token, '--name', 'taken']);
  const { token } = await newToken(server);
  await assertRefused(t, ['--token', token, '--name', 'taken'], /taken/);
  const again = await enrollWith(t, ['--token', token, '--name', 'free']);
  assert.equal(again.enrolled.exit?.code, 0, again.enrolled.transcript());
});

test('an agent that is not enrolled exits with 4', async (t) => {
  const stateDir = join(await tempDir(t), 'state');
  const ended = await run(t, 'agent', ['run', '--state-dir', stateDir]);
  assert.equal(ended.exit.code, 4, ended.transcript());
  assert.match(ended.stderr, /not enrolled/);
});

test('status tells who the host is; unenroll takes it out of the mesh', async (t) => {
  const agent = await addHost(t, server, 'leaver');
  const status = await run(t, 'agent', ['status', '--state-dir', agent.stateDir, '--json']);
  assert.equal(status.exit.code, 0, status.transcript());
  assert.ok(status.stdout.includes(agent.hostId), status.stdout);
  assert.deepEqual(await agent.process.stop(), { code: 0, signal: null });
  const left = await run(t, 'agent', ['unenroll', '--state-dir', agent.stateDir]);
  assert.equal(left.exit.code, 0, left.transcript());
  assert.equal((await server.api.get('/api/v1/hosts/leaver')).body.state, 'revoked');
  assert.ok(!existsSync(join(agent.stateDir, 'key.pem')));
});

test('an old Node is told in one sentence', async (t) => {
  // The entry point is plain JavaScript; a version that lies stands in for an old Node.
  const lie =
    "Object.defineProperty(process.versions,'napi',{value:'8'});Object.defineProperty(process.versions,'node',{value:'20.0.0'});";
  const preload = join(await tempDir(t), 'old.cjs');
  await writeFile(preload, lie);
  for (const entry of ['server/main.ts', 'agent/main.ts', 'server/cli/main.ts']) {
    const old = launchCommand(t, process.execPath, ['--require', preload, entry, '--version']);
    const end = await old.exited;
    assert.equal(end.code, 1, old.transcript());
    assert.equal(old.stderr.trim().split('\n').length, 1, old.stderr);
    assert.match(old.stderr, /Node/);
  }
});
