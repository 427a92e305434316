import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { createGunzip, createGzip } from 'node:zlib';
import { extract, type Headers, pack } from 'tar-stream';
import { type ArchiveOptions, siteArchive, siteName } from '../../../../../server/cli/site/archive.ts';
import { checkSite } from '../../../../../server/cli/site/check.ts';
import type { SiteFile } from '../../../../../server/cli/site/contents.ts';
import { keyIdOf, type ReleaseKeys, signRelease } from '../../../../../shared/releases/signature.ts';
import { type Cleanup, tempDir } from '../../../../support/tmp.ts';

const FACTS = { version: '1.2.3', os: 'linux', arch: 'x64', node: '26.10.0' };
const AGENT = Buffer.from('an executable of the agent');
const AGENT_DIR = 'agent-files/linux/arm64';
const BUILT = {
  version: '1.2.3',
  os: 'linux',
  arch: 'arm64',
  bytes: AGENT.byteLength,
  sha256: createHash('sha256').update(AGENT).digest('hex'),
};
const release = generateKeyPairSync('ed25519');
const other = generateKeyPairSync('ed25519');

const keysOf = (...keys: KeyObject[]): ReleaseKeys => new Map(keys.map((key) => [keyIdOf(key), key]));
const fileOf = (path: string, content: unknown, executable = false): SiteFile => {
  const source = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  return { path, source, executable };
};
const FILES = [
  fileOf('server/lib/site.json', FACTS),
  fileOf(`${AGENT_DIR}/fairlead-agent.json`, BUILT),
  fileOf(`${AGENT_DIR}/fairlead-agent`, AGENT, true),
  fileOf('server/lib/empty', Buffer.alloc(0)),
  fileOf(`server/lib/${'long/'.repeat(40)}name`, 'of a file far below'),
];
const SIGNED = [
  ...FILES,
  fileOf(`${AGENT_DIR}/fairlead-agent.sig`, signRelease({ ...BUILT, sequence: 7 }, release.privateKey)),
];

interface TarEntry {
  readonly header: Headers;
  readonly content: Buffer;
}

async function entriesOf(file: string): Promise<TarEntry[]> {
  const entries = extract();
  const piped = pipeline(createReadStream(file), createGunzip(), entries);
  const all: TarEntry[] = [];
  for await (const entry of entries) all.push({ header: entry.header, content: await buffer(entry) });
  await piped;
  return all;
}

async function archiveOf(t: Cleanup, files: readonly SiteFile[], options: ArchiveOptions = {}): Promise<string> {
  const file = join(await tempDir(t, 'site'), 'site.tar.gz');
  await pipeline(await siteArchive(siteName(FACTS), files, options), createWriteStream(file));
  return file;
}

test('the same files make the same bytes, in whatever order they come', async (t) => {
  const [one, two] = await Promise.all([archiveOf(t, FILES), archiveOf(t, FILES.toReversed())]);
  assert.deepEqual(await readFile(one), await readFile(two));
  const { facts, files, agents, signedBy } = await checkSite(one);
  assert.deepEqual({ facts, files, signedBy }, { facts: FACTS, files: FILES.length + 1, signedBy: undefined });
  assert.deepEqual(agents, [{ os: 'linux', arch: 'arm64', version: '1.2.3' }]);
});

test('files are those of root, folders can be entered by everybody, and programs be run', async (t) => {
  const modes = new Map<string, number | undefined>();
  for (const { header } of await entriesOf(await archiveOf(t, FILES))) {
    assert.deepEqual([header.uid, header.gid, header.mtime?.getTime()], [0, 0, Date.UTC(2000)]);
    modes.set(header.name.replace('fairlead-site-1.2.3-linux-x64', '').replace(/\/$/, ''), header.mode);
  }
  assert.equal(modes.get(''), 0o755);
  assert.equal(modes.get('/agent-files/linux'), 0o755);
  assert.equal(modes.get(`/${AGENT_DIR}/fairlead-agent`), 0o755);
  assert.equal(modes.get(`/${AGENT_DIR}/fairlead-agent.json`), 0o644);
});

test('a signed archive is that of the key that is asked for, and of no other', async (t) => {
  const file = await archiveOf(t, SIGNED, { privateKey: release.privateKey });
  const { agents, signedBy } = await checkSite(file, keysOf(other.publicKey, release.publicKey));
  assert.equal(signedBy, keyIdOf(release.publicKey));
  assert.deepEqual(agents, [{ os: 'linux', arch: 'arm64', version: '1.2.3', sequence: 7 }]);

  const refused = { code: 'RELEASE_INVALID' };
  await assert.rejects(checkSite(file, keysOf(other.publicKey)), refused);
  // The agent is of one key, the checksums are of another.
  const foreign = await archiveOf(t, SIGNED, { privateKey: other.privateKey });
  await assert.rejects(checkSite(foreign, keysOf(release.publicKey)), refused);
  await assert.rejects(
    checkSite(await archiveOf(t, SIGNED), keysOf(release.publicKey)),
    /SHA256SUMS\.sig is not in it/,
  );
  const unsigned = await archiveOf(t, FILES, { privateKey: release.privateKey });
  await assert.rejects(checkSite(unsigned, keysOf(release.publicKey)), /fairlead-agent\.sig is not in it/);
});

test('of an archive that has small files in great sizes little is kept while it is read', async (t) => {
  const large = Buffer.alloc(3 * 1024 * 1024);
  const files = ['a', 'b', 'c'].map((folder) => fileOf(`${folder}/SHA256SUMS`, large));
  await assert.rejects(checkSite(await archiveOf(t, [...FILES, ...files])), /"c\/SHA256SUMS" is too large/);
});

test('what is not whole is refused, and what is wrong with it is said', async (t) => {
  const file = await archiveOf(t, FILES);
  const refusal = async (path: string, why: RegExp) => await assert.rejects(checkSite(path), why);
  /** The archive with one entry after `change`, which may take it away, or make several of it. */
  const changed = async (ending: string, change: (entry: TarEntry) => TarEntry[]) => {
    const entries = (await entriesOf(file)).flatMap((entry) =>
      entry.header.name.endsWith(ending) ? change(entry) : [entry],
    );
    const path = join(await tempDir(t, 'site'), 'changed.tar.gz');
    const tar = pack();
    for (const { header, content } of entries) tar.entry({ ...header, size: content.length }, content);
    tar.finalize();
    await pipeline(tar, createGzip(), createWriteStream(path));
    return path;
  };
  const named = (entry: TarEntry, name: string): TarEntry => ({ ...entry, header: { ...entry.header, name } });

  // Written by another program, which states the same in the same way.
  await checkSite(await changed('/empty', (entry) => [entry]));
  await refusal(
    await changed('/fairlead-agent', (entry) => [{ ...entry, content: Buffer.from('another') }]),
    /fairlead-agent is not what SHA256SUMS says/,
  );
  await refusal(await changed('/empty', () => []), /server\/lib\/empty is not in it/);
  await refusal(await changed('/empty', (entry) => [entry, entry]), /"server\/lib\/empty" is in it twice/);
  await refusal(
    await changed('/empty', (entry) => [entry, named(entry, entry.header.name.replace('empty', 'emptyish'))]),
    /server\/lib\/emptyish does not stand in SHA256SUMS/,
  );
  await refusal(await changed('/empty', (entry) => [entry, named(entry, '/etc/passwd')]), /is no path/);
  await refusal(
    await changed('/empty', (entry) => [named(entry, 'fairlead-site-1.2.3-linux-x64/../x')]),
    /is no path that a site archive can have/,
  );
  await refusal(
    await changed('/empty', (entry) => [named(entry, 'elsewhere/server/lib/empty')]),
    /is outside of its folder/,
  );
  await refusal(
    await changed('/empty', ({ header }) => [
      { header: { ...header, type: 'symlink', linkname: '/etc/passwd' }, content: Buffer.alloc(0) },
    ]),
    /empty" is neither a file nor a folder/,
  );
  await refusal(await changed('/SHA256SUMS', () => []), /there is no SHA256SUMS in it/);
  await refusal(
    await changed('/SHA256SUMS', (entry) => [{ ...entry, content: Buffer.from('0  nothing\n') }]),
    /SHA256SUMS has a line that is no checksum/,
  );
  const wrong = [...FILES.filter(({ path }) => !path.endsWith('.json')), fileOf('server/lib/site.json', FACTS)];
  await refusal(await archiveOf(t, wrong), /fairlead-agent\.json is not in it/);
  const misplaced = FILES.map((each) => ({ ...each, path: each.path.replace('arm64', 'x64') }));
  await refusal(await archiveOf(t, misplaced), /is for linux\/arm64/);
  await truncate(file, 200);
  await refusal(file, /site\.tar\.gz is no whole site archive: unexpected end of file/);
  await refusal(join(file, 'nowhere'), /is no whole site archive/);
  await writeFile(file, 'not compressed');
  await refusal(file, /is no whole site archive: it is not compressed/);
});
