/** Volumes for tests on the real Engine: filled and read past everything that is under test. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { extract, type Headers, pack } from 'tar-stream';
import { sharedDocker, TEST_IMAGE, TEST_LABEL, type TestDocker } from './docker.ts';
import { type Cleanup, defer } from './tmp.ts';

/** What is put into a volume, or found there. */
export type Entry = Headers & { readonly content?: Buffer };

/** A name that no other test has; the volume of that name is removed after the test. */
export function volumeName(cleanup: Cleanup, docker = sharedDocker): string {
  const name = `fl-test-${randomBytes(6).toString('hex')}`;
  defer(cleanup, () => docker.api('DELETE', `/volumes/${name}?force=1`));
  return name;
}

/** A new volume, with these entries in it. */
export async function testVolume(
  cleanup: Cleanup,
  entries: readonly Entry[] = [],
  docker = sharedDocker,
): Promise<string> {
  const name = volumeName(cleanup, docker);
  const made = await docker.api('POST', '/volumes/create', { Name: name, Labels: { [TEST_LABEL]: '1', kept: 'yes' } });
  if (made.status !== 201) throw new Error(`no volume: ${JSON.stringify(made)}`);
  if (entries.length > 0) await fillVolume(cleanup, name, entries, docker);
  return name;
}

/** Adds entries to a volume; `.` is its root. */
export async function fillVolume(
  cleanup: Cleanup,
  volume: string,
  entries: readonly Entry[],
  docker = sharedDocker,
): Promise<void> {
  await withContainer(docker, cleanup, volume, async (container) => {
    const tar = await tarOf(entries.map((entry) => ({ ...entry, name: `v/${entry.name}`.replace(/\/\.$/, '/') })));
    const { status, body } = await docker.bytes('PUT', `/containers/${container}/archive?path=/`, tar);
    if (status !== 200) throw new Error(`the volume was not filled: ${status} ${body}`);
  });
}

/** Everything in a volume, as comparable text: one line for each entry, in order. */
export async function contentOf(cleanup: Cleanup, volume: string, docker = sharedDocker): Promise<string[]> {
  return await withContainer(docker, cleanup, volume, async (container) => {
    const { status, body } = await docker.bytes('GET', `/containers/${container}/archive?path=/v`);
    if (status !== 200) throw new Error(`the volume was not read: ${status} ${body}`);
    return await linesOf(body);
  });
}

/** The entries of a tar, one line each. */
export async function linesOf(tar: Buffer): Promise<string[]> {
  const parser = extract();
  Readable.from([tar]).pipe(parser);
  const lines: string[] = [];
  for await (const entry of parser) {
    const content = await buffer(entry);
    const { name, type, mode = 0, uid, gid, mtime, linkname } = entry.header;
    const hash = createHash('sha256').update(content).digest('hex').slice(0, 12);
    const seconds = Math.floor((mtime?.getTime() ?? 0) / 1000);
    lines.push(
      [name, type, (mode & 0o7777).toString(8), uid, gid, seconds, linkname ?? '', content.length, hash].join(' '),
    );
  }
  return lines;
}

export async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  const mtime = new Date(1_600_000_000_000);
  for (const { content = Buffer.alloc(0), ...header } of entries) {
    const isFile = header.type === undefined || header.type === 'file';
    if (isFile) tar.entry({ mtime, ...header }, content);
    else tar.entry({ mtime, ...header }).end();
  }
  tar.finalize();
  return await buffer(tar);
}

async function withContainer<T>(
  docker: TestDocker,
  cleanup: Cleanup,
  volume: string,
  work: (container: string) => Promise<T>,
): Promise<T> {
  await docker.require();
  const mount = { Type: 'volume', Source: volume, Target: '/v', VolumeOptions: { NoCopy: true } };
  const config = { Image: TEST_IMAGE, HostConfig: { NetworkMode: 'none', Mounts: [mount] } };
  const { id } = await docker.container(cleanup, {
    config,
    start: false,
    labels: { 'fairlead.test.id': randomUUID() },
  });
  try {
    return await work(id);
  } finally {
    await docker.api('DELETE', `/containers/${id}?force=1`);
  }
}
