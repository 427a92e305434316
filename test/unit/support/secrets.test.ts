import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { filesOf, processOf, Secrets } from '../../support/secrets.ts';
import { tempDir } from '../../support/tmp.ts';
import { p256, rsa } from '../certs/fixtures.ts';

const SECRET = 'pa55 w"rd/with+odd=chars?';
const evidence = (content: string | Buffer, place = 'a log') => [{ place, content: Buffer.from(content) }];

function found(content: string | Buffer): string[] {
  const secrets = new Secrets();
  secrets.add('a password', SECRET);
  return secrets.find(evidence(content)).map(({ form }) => form);
}

test('a planted secret is found in every form that it takes', () => {
  const forms: [string, string | Buffer][] = [
    ['raw', `{"msg":${'x'.repeat(5_000)}${SECRET}`],
    ['hex', Buffer.from(SECRET).toString('hex')],
    ['hex', Buffer.from(SECRET).toString('hex').toUpperCase()],
    ['base64', `Basic ${Buffer.from(`user:${SECRET}`).toString('base64')}`],
    ['base64', Buffer.from(`x${SECRET}`).toString('base64')],
    ['base64', Buffer.from(`xy${SECRET}tail`).toString('base64')],
    ['base64url', Buffer.from(SECRET).toString('base64url')],
    ['URL-encoded', `GET /x?p=${encodeURIComponent(SECRET)}`],
    ['JSON', JSON.stringify({ p: SECRET })],
  ];
  for (const [form, content] of forms) assert.ok(found(content).includes(form), `${form}: ${content}`);
});

test('what is no secret is not found', () => {
  assert.deepEqual(found(`${SECRET.slice(0, -1)} ${Buffer.from(SECRET.slice(1)).toString('hex')}`), []);
  assert.deepEqual(found(randomBytes(100_000)), []);
});

test('a private key is found by any of its lines and by its numbers; its public half is none', () => {
  for (const { privateKey, publicKey } of [p256(), rsa()]) {
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const secrets = new Secrets();
    secrets.addKey('a key', pem, ['key.pem']);
    const lines = pem.trim().split('\n').slice(1, -1);
    assert.ok(secrets.find(evidence(lines[0] ?? '')).length > 0 || lines.length > 10);
    const leaking = lines.filter((line) => secrets.find(evidence(line)).length > 0);
    assert.ok(leaking.length >= (lines.length > 10 ? 16 : 2), `${leaking.length} of ${lines.length} lines`);
    const { d } = privateKey.export({ format: 'jwk' });
    assert.ok(secrets.find(evidence(Buffer.from(d ?? '', 'base64url'))).length > 0);
    assert.ok(secrets.find(evidence(`{"d":"${d}"}`)).length > 0);
    assert.ok(secrets.find(evidence(privateKey.export({ type: 'pkcs8', format: 'der' }))).length > 0);
    for (const format of ['pem', 'der'] as const) {
      const shown = publicKey.export({ type: 'spki', format: format as 'pem' });
      assert.deepEqual(secrets.find(evidence(shown)), []);
    }
    assert.deepEqual(secrets.find(evidence(pem, 'key.pem')), [], 'where it belongs');
    assert.deepEqual(secrets.missing(evidence(pem, 'key.pem')), []);
    assert.ok(secrets.missing(evidence('', 'key.pem')).length > 0, 'a search that finds it nowhere proves nothing');
  }
});

test('what belongs somewhere is a leak anywhere else', () => {
  const secrets = new Secrets();
  secrets.add('a token', SECRET, ['/data/token']);
  assert.deepEqual(secrets.find(evidence(SECRET, '/data/token')), []);
  assert.equal(secrets.find(evidence(SECRET, '/data/token.tmp'))[0]?.place, '/data/token.tmp');
});

test('a secret that is too short, and a second one of a name, are refused', () => {
  const secrets = new Secrets();
  assert.throws(() => secrets.add('a pin', '1234567'), /too short/);
  secrets.add('a password', SECRET);
  assert.throws(() => secrets.add('a password', `${SECRET}2`), /two secrets/);
});

test('files are read wherever they lie, and what a process shows', async (t) => {
  const dir = await tempDir(t);
  await writeFile(join(dir, 'db-wal'), SECRET);
  const files = await filesOf(dir);
  assert.deepEqual(
    files.map(({ place, content }) => [place, content.toString()]),
    [[join(dir, 'db-wal'), SECRET]],
  );
  const [cmdline, environ] = await processOf('this', process.pid);
  assert.ok(cmdline?.content.includes('secrets.test.ts') && environ?.content.includes('PATH='));
});
