import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import {
  loadIdentity,
  prepareStateDir,
  readPending,
  removeIdentity,
  storeIdentity,
  writePending,
} from '../../../../agent/identity/state-dir.ts';
import { formatStatus, readStatus } from '../../../../agent/identity/status.ts';
import { createCsr } from '../../../../certs/csr.ts';
import { writeFileAtomic } from '../../../../shared/atomic-file.ts';
import { type ErrorCode, isFairleadError } from '../../../../shared/errors.ts';
import { type Cleanup, tempDir } from '../../../support/tmp.ts';
import { issue, newPki, type Pki } from './pki.ts';

let pki: Pki;
before(async () => {
  pki = await newPki();
});

const newKey = () =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

async function enrolled(cleanup: Cleanup): Promise<string> {
  const dir = await tempDir(cleanup, 'identity');
  const hostId = randomUUID();
  const keyPem = newKey();
  const certPem = await issue(pki, await createCsr(createPrivateKey(keyPem)), hostId);
  const record = {
    hostId,
    name: 'web-1',
    server: 'https://fairlead:8440',
    agentUrl: 'wss://fairlead:8443/agent',
    caFingerprint: pki.ca.fingerprint,
    enrolledAt: new Date(0).toISOString(),
  };
  await storeIdentity(dir, { keyPem, certPem, caPem: pki.ca.certPem, record });
  return dir;
}

function hasCode(code: ErrorCode, text: RegExp) {
  return (error: unknown) => isFairleadError(error, code) && text.test(error.message);
}

describe('loadIdentity', () => {
  test('a directory that is missing or without agent.json is not enrolled', async (t) => {
    const dir = await tempDir(t, 'identity');
    await assert.rejects(loadIdentity(dir), hasCode('NOT_FOUND', /not enrolled/));
    await assert.rejects(loadIdentity(join(dir, 'missing')), hasCode('NOT_FOUND', /not enrolled/));
    const complete = await enrolled(t);
    await rm(join(complete, 'agent.json'));
    await assert.rejects(loadIdentity(complete), hasCode('NOT_FOUND', /not enrolled/));
  });

  test('damage is told by what is damaged', async (t) => {
    const damages: [string, string | undefined, RegExp][] = [
      ['key.pem', undefined, /key.pem is missing/],
      ['key.pem', newKey(), /do not belong together/],
      ['key.pem', 'nonsense', /cannot be read/],
      ['cert.pem', 'nonsense', /cannot be read/],
      ['ca.pem', (await newPki()).ca.certPem, /not the CA/],
      ['agent.json', '{', /not JSON/],
      ['agent.json', '{"hostId":1}', /agent.json/],
    ];
    for (const [name, content, text] of damages) {
      const dir = await enrolled(t);
      if (content === undefined) await rm(join(dir, name));
      else await writeFile(join(dir, name), content);
      await assert.rejects(loadIdentity(dir), hasCode('VALIDATION', text), name);
    }
  });
});

test('removeIdentity removes what is ours and nothing else', async (t) => {
  const dir = await enrolled(t);
  await writeFile(join(dir, 'note.txt'), 'mine');
  await writeFile(join(dir, 'key.pem.0123456789ab.tmp'), 'left behind by a crash');
  await removeIdentity(dir);
  assert.deepEqual(await readdir(dir), ['note.txt']);
  await assert.rejects(removeIdentity(dir), hasCode('NOT_FOUND', /not enrolled/));
});

test('a pending key is found again for its token alone', async (t) => {
  const dir = await tempDir(t, 'identity');
  assert.equal(await readPending(dir, 'a'), undefined);
  await writePending(dir, { tokenId: 'a', keyPem: 'key' });
  assert.equal((await readPending(dir, 'a'))?.keyPem, 'key');
  assert.equal(await readPending(dir, 'b'), undefined);
});

test('the undo of prepareStateDir spares directories that were there or are in use', async (t) => {
  const base = await tempDir(t, 'identity');
  const undo = await prepareStateDir(join(base, 'a', 'b'));
  assert.equal((await stat(join(base, 'a', 'b'))).mode & 0o777, 0o700);
  await mkdir(join(base, 'a', 'c'));
  await undo();
  assert.deepEqual(await readdir(join(base, 'a')), ['c']);
  await (await prepareStateDir(join(base, 'a')))();
  assert.deepEqual(await readdir(base), ['a']);
});

test('writeFileAtomic replaces a file whole, and leaves nothing beside it when it fails', async (t) => {
  const dir = await tempDir(t, 'identity');
  await writeFileAtomic(join(dir, 'file'), 'one', 0o600);
  await writeFileAtomic(join(dir, 'file'), 'two', 0o600);
  assert.equal((await stat(join(dir, 'file'))).mode & 0o777, 0o600);
  await mkdir(join(dir, 'taken', 'inner'), { recursive: true });
  await assert.rejects(writeFileAtomic(join(dir, 'taken'), 'three', 0o600));
  assert.deepEqual((await readdir(dir)).sort(), ['file', 'taken']);
});

test('the status names the host, its certificate and the days left', async (t) => {
  const dir = await enrolled(t);
  const status = await readStatus(dir, Date.now());
  assert.equal(status.enrolled, true);
  assert.equal(status.connected, false);
  assert.equal(status.host?.name, 'web-1');
  assert.equal(status.certificate?.daysLeft, 29);
  assert.match(status.certificate?.serial ?? '', /^[1-9A-F][0-9A-F]+$/);
  assert.match(formatStatus(status), /web-1.*\n.*fairlead:8440[\s\S]*29 days left[\s\S]*no agent runs here/);
  const end = Date.parse(status.certificate?.notAfter ?? '');
  const left = async (ms: number) => formatStatus(await readStatus(dir, end - ms));
  assert.match(await left(86_400_000), /\(1 day left\)/);
  assert.match(await left(86_400_000 - 1), /\(23 hours left\)/);
  assert.match(await left(6 * 60_000), /\(6 minutes left\)/);
  assert.match(await left(59_000), /\(0 minutes left\)/);
  assert.match(await left(0), /\(expired\)/);
  const later = await readStatus(dir, Date.now() + 40 * 86_400_000);
  assert.match(formatStatus(later), /expired/);
  const nothing = await readStatus(await tempDir(t, 'identity'), Date.now());
  assert.equal(nothing.enrolled, false);
  assert.match(formatStatus(nothing), /not enrolled/);
});
