/** Archives that programs may read in two ways are refused: what was checked is what any tar unpacks. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { appendFile, chmod, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { siteArchive, siteName } from '../../../../../server/cli/site/archive.ts';
import { checkSite } from '../../../../../server/cli/site/check.ts';
import { keyIdOf, type ReleaseKeys } from '../../../../../shared/releases/signature.ts';
import { type Cleanup, tempDir } from '../../../../support/tmp.ts';

const BLOCK = 512;
const FACTS = { version: '1.2.3', os: 'linux', arch: 'x64', node: '26.10.0' };
const NAME = siteName(FACTS);
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const KEYS: ReleaseKeys = new Map([[keyIdOf(publicKey), publicKey]]);

/** An archive's bytes, by whose installer one can tell it. */
async function bytesOf(installer: string, key?: KeyObject): Promise<Buffer> {
  const files = [
    { path: 'install.sh', source: Buffer.from(installer), executable: true },
    { path: 'server/lib/site.json', source: Buffer.from(JSON.stringify(FACTS)), executable: false },
  ];
  return await buffer(await siteArchive(NAME, files, key === undefined ? {} : { privateKey: key }));
}

let honest: Buffer;
/** The same, without gzip. */
let tar: Buffer;
/** Up to the blocks of zeros at its end. */
let body: Buffer;
/** An attacker's own, whole but for a signature. */
let foreign: Buffer;

before(async () => {
  honest = await bytesOf('echo honest', privateKey);
  tar = gunzipSync(honest);
  body = tar.subarray(0, -2 * BLOCK);
  foreign = gunzipSync(await bytesOf('echo foreign')).subarray(0, -2 * BLOCK);
});

async function written(t: Cleanup, bytes: Uint8Array): Promise<string> {
  const file = join(await tempDir(t, 'site'), 'site.tar.gz');
  await writeFile(file, bytes);
  return file;
}

async function unpacked(t: Cleanup): Promise<string> {
  const dir = await tempDir(t, 'site');
  await promisify(execFile)('tar', ['-xzf', await written(t, honest), '-C', dir]);
  return join(dir, NAME);
}

function withChecksum(block: Buffer): Buffer {
  block.write(' '.repeat(8), 148, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')} \0`, 148, 'latin1');
  return block;
}

/** An entry of any type, whose header is like those of an archive otherwise. */
function entry(type: string, content: string, size = content.length): Buffer {
  const header = Buffer.from(tar.subarray(0, BLOCK)).fill(0, 0, 100);
  header.write('extended', 0, 'latin1');
  header.write(`${size.toString(8).padStart(11, '0')} `, 124, 'latin1');
  header.write(type, 156, 'latin1');
  const padded = Buffer.alloc(Math.ceil(content.length / BLOCK) * BLOCK);
  padded.write(content, 'latin1');
  return Buffer.concat([withChecksum(header), padded]);
}

function pax(key: string, value: string): string {
  const record = ` ${key}=${value}\n`;
  let length = record.length;
  while (String(length).length + record.length !== length) length += 1;
  return `${length}${record}`;
}

/** The archive with a header changed. */
function changedHeader(ending: string, change: (block: Buffer) => void): Buffer {
  const changed = Buffer.from(tar);
  const at = headerAt(ending);
  change(changed.subarray(at, at + BLOCK));
  return changed;
}

function headerAt(ending: string): number {
  const at = tar.indexOf(`${NAME}/${ending}\0`, 0, 'latin1');
  assert.equal(at % BLOCK, 0);
  return at;
}

/** What GNU tar takes for one large file, and other parsers for two archives, the first of which is signed. */
function swallowed(): Buffer {
  const first = headerAt('install.sh');
  const hidden = Buffer.concat([entry('g', pax('comment', 'x')), foreign]);
  const behind = Buffer.concat([entry('L', '', hidden.byteLength), hidden]);
  const size = body.byteLength - first; // all behind its header, and the header of the long name
  const globally = entry('g', pax('size', String(size)));
  return Buffer.concat([body.subarray(0, first), globally, body.subarray(first), behind, Buffer.alloc(2 * BLOCK)]);
}

const NEITHER = /is neither a file nor a folder/;
const NOT_AS_WRITTEN = /is not as Fairlead writes it/;
const ZEROS = Buffer.alloc(2 * BLOCK);
const TARS: [what: string, make: () => Buffer, why: RegExp][] = [
  ['a whole archive hidden by sizes that not every program sees', swallowed, NEITHER],
  ['an extended header', () => Buffer.concat([entry('x', pax('path', 'elsewhere')), tar]), NEITHER],
  ['a long name', () => Buffer.concat([entry('L', 'elsewhere'), tar]), NEITHER],
  ['a long name without an end', () => Buffer.concat([entry('L', '', 2 ** 31), ZEROS]), NEITHER],
  ['another time', () => changedHeader('install.sh', (block) => withText(block, 136, '07040304401')), NOT_AS_WRITTEN],
  ['a set-user-ID bit', () => changedHeader('install.sh', (block) => withText(block, 100, '004755')), NOT_AS_WRITTEN],
  ['a wrong checksum', () => changedHeader('install.sh', (block) => block.fill('0', 148, 154)), NOT_AS_WRITTEN],
  ['bytes in a padding', () => padded(1), /is something where a tar has zeros/],
  ['bytes in the last block', () => Buffer.concat([tar.subarray(0, -1), Buffer.of(1)]), /where a tar has zeros/],
  ['one block of zeros', () => tar.subarray(0, -BLOCK), /it ends too early/],
  ['no end', () => body, /it ends too early/],
  ['another archive behind its end', () => Buffer.concat([tar, foreign, ZEROS]), /there is more behind its end/],
  ['zeros behind its end', () => Buffer.concat([tar, ZEROS]), /there is more behind its end/],
  ['a folder twice', () => Buffer.concat([tar.subarray(0, BLOCK), tar]), /is not where Fairlead puts it/],
  ['an empty folder', () => Buffer.concat([body, tar.subarray(0, BLOCK), ZEROS]), /folders with nothing in them/],
  ['files in another order', () => Buffer.concat([foreign, foreign, ZEROS]), /is not where Fairlead puts it/],
];

function withText(block: Buffer, at: number, text: string): void {
  block.write(text, at, 'latin1');
  withChecksum(block);
}

function padded(byte: number): Buffer {
  const changed = Buffer.from(tar);
  changed[headerAt('install.sh') + 2 * BLOCK - 1] = byte;
  return changed;
}

for (const [what, make, why] of TARS) {
  test(`refused: ${what}`, async (t) => {
    await assert.rejects(checkSite(await written(t, gzipSync(make())), KEYS), why);
  });
}

const MEMBERS: [what: string, make: () => Buffer, why: RegExp][] = [
  ['a second member of gzip', () => Buffer.concat([honest, gzipSync(foreign)]), /there is more behind its end/],
  ['an empty member of gzip', () => Buffer.concat([honest, gzipSync('')]), /there is more behind its end/],
  ['zeros behind gzip', () => Buffer.concat([honest, ZEROS]), /there is more behind its end/],
  ['a byte behind gzip', () => Buffer.concat([honest, Buffer.of(0x1f)]), /there is more behind its end/],
  ['a name in gzip', () => Buffer.concat([honest.subarray(0, 3), Buffer.of(8), honest.subarray(4)]), /not compressed/],
  ['a wrong checksum of gzip', () => Buffer.concat([honest.subarray(0, -8), Buffer.alloc(8)]), /it is damaged/],
  ['half a checksum of gzip', () => honest.subarray(0, -4), /it is damaged/],
];

for (const [what, make, why] of MEMBERS) {
  test(`refused: ${what}`, async (t) => {
    await assert.rejects(checkSite(await written(t, make()), KEYS), why);
  });
}

test('what tar unpacks is what was checked, and is found to be so', async (t) => {
  const packed = await checkSite(await written(t, honest), KEYS);
  const dir = await unpacked(t);
  const { bytes, ...found } = await checkSite(dir, KEYS);
  assert.deepEqual({ bytes, ...found }, packed);
  assert.equal(found.signedBy, keyIdOf(publicKey));
});

test('an unpacked folder with anything else in it is refused', async (t) => {
  const refusal = async (change: (dir: string) => Promise<unknown>, why: RegExp | object) => {
    const dir = await unpacked(t);
    await change(dir);
    await assert.rejects(checkSite(dir, KEYS), why);
  };
  await refusal((dir) => appendFile(join(dir, 'install.sh'), '\necho more'), /install\.sh is not what SHA256SUMS says/);
  await refusal((dir) => rm(join(dir, 'install.sh')), /install\.sh is not in it/);
  await refusal((dir) => writeFile(join(dir, 'server/more'), ''), /server\/more does not stand in SHA256SUMS/);
  await refusal((dir) => symlink('install.sh', join(dir, 'link')), /"link" is neither a file nor a folder/);
  await refusal((dir) => chmod(join(dir, 'install.sh'), 0o4755), /"install\.sh" runs as its owner/);
  await refusal((dir) => rm(join(dir, 'SHA256SUMS.sig')), {
    code: 'RELEASE_INVALID',
    message: 'it is not signed: SHA256SUMS.sig is not in it',
  });
});
