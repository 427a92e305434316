/** `operator` and `user`: what they send, what they write, and what they never show. */
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { before, test } from 'node:test';
import { readCsr } from '../../../../certs/csr.ts';
import { pinOfSpki, spkiOf } from '../../../../certs/pin.ts';
import { tempDir } from '../../../support/tmp.ts';
import { fakeApi, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

const CREATE = 'POST /api/v1/operator-certificates';
const PASSWORD = 'correct horse battery';
let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

test('the key stays here: a request for it goes out, and the files are as docker expects them', async (t) => {
  const server = await fakeApi(t, identity);
  const made = { id: 'o1', serial: 'AB', certificate: 'CERT\n', ca: 'CA\n', notAfter: '2030-04-01T00:00:00Z' };
  server.on(CREATE, () => made);
  const out = join(await tempDir(t, 'operator'), 'certs');
  const args = ['operator', 'create', 'ann', '--role', 'operator', '--host', 'a', '--host', 'b', '--tag', 'eu'];
  const done = await runAgainst(server, [...args, '--ttl', '90d', '--out', out]);
  assert.equal(done.code, 0, done.err);
  const { csr, ...rest } = (server.requests.at(-1)?.body ?? {}) as Record<string, unknown>;
  assert.deepEqual(rest, { name: 'ann', role: 'operator', hosts: ['a', 'b'], tags: ['eu'], ttlSeconds: 7_776_000 });
  const key = await readFile(join(out, 'key.pem'), 'utf8');
  const pin = pinOfSpki(spkiOf(createPublicKey(createPrivateKey(key))));
  assert.equal((await readCsr(String(csr))).spkiPin, pin);
  assert.equal((await stat(join(out, 'key.pem'))).mode & 0o777, 0o600);
  assert.equal(await readFile(join(out, 'cert.pem'), 'utf8'), 'CERT\n');
  assert.equal(await readFile(join(out, 'ca.pem'), 'utf8'), 'CA\n');
  assert.ok(!done.out.includes('PRIVATE KEY'));

  const again = await runAgainst(server, [...args, '--out', out]);
  assert.equal(again.code, 1);
  assert.equal(server.requests.filter(({ method }) => method === 'POST').length, 1, 'a certificate nobody could keep');
  assert.equal(await readFile(join(out, 'key.pem'), 'utf8'), key);
});

test('a refused certificate leaves no key behind', async (t) => {
  const server = await fakeApi(t, identity);
  server.on(CREATE, (_seen, response) => problem(response, 403, 'FORBIDDEN', 'this needs the role admin'));
  const out = join(await tempDir(t, 'operator'), 'certs');
  const done = await runAgainst(server, ['operator', 'create', 'ann', '--role', 'admin', '--out', out]);
  assert.deepEqual([done.code, await readdir(out)], [1, []]);
  assert.match(done.err, /needs the role admin/);
});

test('a password comes from a file or a pipe, without its line break, and from nowhere else', async (t) => {
  const server = await fakeApi(t, identity);
  server.on('POST /api/v1/users', ({ body }) => ({ ...(body as object), password: undefined }));
  server.on('PUT /api/v1/users/ann/password', (_seen, response) => void response.writeHead(204).end());
  const file = join(await tempDir(t, 'user'), 'password');
  await writeFile(file, `${PASSWORD}\r\n`);
  const create = ['user', 'create', 'ann', '--role', 'viewer'];
  const piped = await runAgainst(server, create, { input: Readable.from([Buffer.from(`${PASSWORD}\n`)]) });
  const filed = await runAgainst(server, ['user', 'passwd', 'ann', '--password-file', file]);
  assert.deepEqual([piped.code, filed.code], [0, 0], piped.err + filed.err);
  const sent = server.requests.filter(({ method }) => method !== 'GET').map(({ body }) => body);
  assert.deepEqual(sent, [{ name: 'ann', role: 'viewer', password: PASSWORD }, { password: PASSWORD }]);
  assert.ok(![piped, filed].some(({ out, err }) => (out + err).includes(PASSWORD)));

  const typed = await runAgainst(server, create, { input: Object.assign(new PassThrough(), { isTTY: true }) });
  assert.deepEqual([typed.code, /would be seen/.test(typed.err)], [2, true]);
  assert.equal((await runAgainst(server, create)).code, 2);
  assert.equal((await runAgainst(server, [...create, '--password-file', `${file}.none`])).code, 1);
});
