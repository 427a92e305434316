import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { type Ca, createCa, openCa } from '../../../../certs/authority.ts';
import { formatToken } from '../../../../certs/enrollment-token.ts';
import { readCertificate } from '../../../../certs/pem.ts';
import { loadContext, saveContext } from '../../../../server/cli/context-file.ts';
import { runCli } from '../../../../server/cli/program.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { tempDir } from '../../../support/tmp.ts';
import { fakeApi, fakeIo, type Identity, makeIdentity, runAgainst } from './fixtures.ts';

let identity: Identity;
let old: Ca;
let next: Ca;
let word: string;

before(async () => {
  const make = async () => openCa(await createCa({ installationId: randomUUID(), clock: systemClock, bits: 2048 }));
  [identity, old, next] = await Promise.all([makeIdentity(), make(), make()]);
  word = await old.endorse({ root: readCertificate(next.certPem), days: 30, clock: systemClock });
});

/** A server whose leaf is of the new root, and a login that was stored when there was the old one alone. */
async function rotated(t: TestContext, announced: string) {
  const leaf = await next.issueServer({ publicHosts: [], clock: systemClock });
  const token = formatToken('fla1', { pin: old.fingerprint, id: 'tok_1', secret: randomBytes(32) });
  const own = { caPem: next.certPem, token, leaf: { key: leaf.keyPem, cert: leaf.certPem } };
  const server = await fakeApi(t, own, announced);
  server.on('GET /api/v1/hosts', () => ({ items: [] }));
  const home = await tempDir(t);
  const path = join(home, '.config', 'fairlead', 'context.json');
  await saveContext(path, { version: 1, server: server.url, trust: { kind: 'internal', ca: old.certPem }, token });
  const run = async () => {
    const io = { ...fakeIo({ HOME: home }), now: () => Date.now() };
    return { code: await runCli(['host', 'ls'], io), err: io.err() };
  };
  const trusted = async () => {
    const { trust } = (await loadContext(path)) ?? assert.fail('there is no context');
    return trust.kind === 'internal' ? trust.ca : assert.fail('another trust');
  };
  return { server, run, trusted };
}

test('a stored login follows an endorsed root, and drops the old one once that is retired', async (t) => {
  const { server, run, trusted } = await rotated(t, next.certPem + old.certPem + word);
  assert.deepEqual(await run(), { code: 0, err: '' });
  assert.equal(await trusted(), old.certPem + next.certPem);
  assert.equal(server.requests.filter(({ authorization }) => authorization !== undefined).length, 1);
  server.on('GET /ca.pem', (_seen, response) => void response.end(next.certPem));
  assert.deepEqual(await run(), { code: 0, err: '' });
  assert.equal(await trusted(), next.certPem);
  server.requests.length = 0;
  assert.deepEqual(await run(), { code: 0, err: '' });
  assert.deepEqual(
    server.requests.map(({ url }) => url.pathname),
    ['/api/v1/hosts'],
  );
});

test('a stored login follows nothing that is not endorsed, and sends it nothing', async (t) => {
  for (const announced of [next.certPem, next.certPem + word, next.certPem + old.certPem, identity.caPem + word]) {
    const { server, run, trusted } = await rotated(t, announced);
    const { code, err } = await run();
    assert.equal(code, 1);
    assert.match(err, /certificate/);
    assert.equal(await trusted(), old.certPem);
    assert.ok(server.requests.every(({ authorization }) => authorization === undefined));
  }
});

const ROTATION = {
  phase: 'activated',
  hosts: 2,
  acknowledged: 1,
  unacknowledged: [{ id: 'h', name: 'edge-1' }],
  otherCertificates: [],
  otherOperatorCertificates: { count: 2, items: [{ serial: 'AB', name: 'ann', notAfter: '2030-01-01T00:00:00Z' }] },
};

test('ca show tells the roots, the rotation and what ends soon', async (t) => {
  const server = await fakeApi(t, identity);
  const root = { fingerprint: 'sha256:00', notAfter: '2036-01-01T00:00:00Z', offline: false };
  server.on('GET /api/v1/ca', () => ({
    ...{ fingerprint: 'sha256:00', subject: 'CN=x', notBefore: 'a', notAfter: 'b' },
    roots: [
      { ...root, role: 'current', offline: true },
      { ...root, role: 'previous' },
    ],
    intermediate: { notAfter: '2028-01-01T00:00:00Z' },
    warnings: ['it ends soon'],
  }));
  server.on('GET /api/v1/ca/rotation', () => ROTATION);
  const { code, out } = await runAgainst(server, ['ca', 'show']);
  assert.equal(code, 0);
  for (const part of [/Intermediate until: +2028/, /Warning: it ends soon/, /current \(offline\)/, /previous/]) {
    assert.match(out, part);
  }
  assert.match(
    out,
    /Phase: +activated\n.*1 of 2 hosts\nDo not yet: +edge-1\n.*ann \(AB\) and 1 more\n.*\n?next: --retire/,
  );
});

test('ca rotate asks for one step', async (t) => {
  const server = await fakeApi(t, identity);
  server.on('POST /api/v1/ca/rotation', () => ROTATION);
  server.on('GET /api/v1/ca/rotation', () => ROTATION);
  const asked = async (...args: string[]) => {
    const { code, err } = await runAgainst(server, ['ca', 'rotate', ...args]);
    return code === 0 ? server.requests.at(-1)?.body : err;
  };
  assert.deepEqual(await asked(), { action: 'publish' });
  assert.deepEqual(await asked('--activate'), { action: 'activate' });
  assert.deepEqual(await asked('--retire', '--force'), { action: 'retire', force: true });
  assert.deepEqual(await asked('--abort'), { action: 'abort' });
  const { code, err } = await runAgainst(server, ['ca', 'rotate', '--retire']);
  assert.equal(code, 0);
  assert.match(
    err,
    /^Warning: this ends 2 operator certificates of the old root: ann \(AB\) and 1 more; make new ones/,
  );
  assert.match(String(await asked('--abort', '--retire')), /--retire and --abort exclude each other/);
});

test('the commands of an offline root say what is wrong with what they are given', async (t) => {
  const dir = await tempDir(t);
  const missing = join(dir, 'missing');
  const say = async (...args: string[]) => {
    const io = fakeIo({ HOME: dir });
    const code = await runCli(['ca', ...args], io);
    return `${code} ${io.err()}`;
  };
  assert.match(await say('init', '--out', dir, '--passphrase-file', missing), /^2 .*--offline/);
  assert.match(await say('init', '--offline', '--out', dir, '--passphrase-file', missing), /^1 .*passphrase file/);
  const root = ['--root', dir, '--passphrase-file', missing, '--out', join(dir, 'out')];
  assert.match(await say('sign', missing, ...root), /^1 .*cannot read the root/);
  assert.match(await say('endorse', missing, ...root), /^1 .*cannot read the root/);
  assert.match(await say('sign', missing, ...root, '--days', '0'), /^2 .*from 1 to 3650/);
});
