/**
 * Tars that are received for a volume: kept on disk until they are whole, so that the volume is not touched before, and a
 * transfer that was cut goes on where it stopped. What nobody asks for any more is removed after a day.
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rm, stat, statfs, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import Type, { type Static } from 'typebox';
import { writeFileAtomic } from '../../shared/atomic-file.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { VolumeName } from '../../shared/messages/volume.ts';
import { VolumeMake } from '../../shared/messages/volume-content.ts';
import { validate } from '../../shared/validate.ts';
import { type Digest, emptyDigest, type Sum, sumOf } from './tar.ts';

const PRIVATE_MODE = 0o600;
/** What is left of the disk for others. */
const RESERVE_BYTES = 256 * 1024 * 1024;
/** How often it is looked at while bytes come. */
const LOOK_EVERY_BYTES = 32 * 1024 * 1024;
/** Transfers of which something is kept at once. */
const MAX_SPOOLS = 64;
const ABANDONED_MS = 24 * 60 * 60_000;

/** How far a volume has been changed by a transfer; on disk before each step, for whoever comes after a crash. */
const Journal = Type.Object({
  volume: VolumeName,
  /** `undoable`: from here on the volume may differ from what it was; `done`: it is as it should be. */
  state: Type.Union([Type.Literal('undoable'), Type.Literal('done')]),
  /** What was there before; of what was full, its tar is kept. */
  before: Type.Union([Type.Literal('absent'), Type.Literal('empty'), Type.Literal('full')]),
  make: VolumeMake,
  /** ms since 1970. */
  at: Type.Integer(),
  /** When Docker made what was there before, ms since 1970. */
  madeAt: Type.Optional(Type.Number()),
});
export type Journal = Static<typeof Journal>;

/** Of which sorts there are files. */
type Sort = 'tar' | 'old.tar' | 'json';
const FILE = /^([0-9a-f-]{36})\.(?:tar|old\.tar|json)$/;

export class Spools {
  readonly #directory: string;
  readonly #clock: Clock;
  /** What is known of files without reading them again. */
  readonly #digests = new Map<string, Digest>();
  readonly #busy = new Set<string>();

  /** @param directory is made when it is needed */
  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  /** What there is of a transfer. */
  async has(id: string): Promise<Sum> {
    return await this.#alone(id, async () => sumOf(await this.#digestOf(id)));
  }

  /**
   * Takes in bytes from `offset` on; what there was beyond is dropped. What came before a failure stays.
   * @returns what there is then
   * @throws FairleadError CONFLICT when the disk has no room, or the offset is beyond what is there; what `source` fails with
   */
  async receive(
    id: string,
    source: Readable,
    { offset, estimate }: { offset: number; estimate: number },
  ): Promise<Sum> {
    // It may break off before it is read: then the reading tells.
    source.on('error', () => undefined);
    return await this.#alone(id, async () => {
      await this.#requirePlace(id);
      await this.requireRoom(Math.max(0, estimate - offset));
      const before = await this.#digestAt(id, offset);
      this.#digests.delete(id);
      return sumOf(await this.#append(id, source, before));
    });
  }

  /** What was received, if it is what it should be. @throws FairleadError STREAM_INTERRUPTED, and nothing is kept then */
  async verified(id: string, expected: Sum): Promise<() => Readable> {
    const { bytes, sha256 } = await this.#alone(id, async () => sumOf(await digestFile(this.#path(id, 'tar'))));
    if (bytes === expected.bytes && sha256 === expected.sha256) return () => createReadStream(this.#path(id, 'tar'));
    await this.discard(id);
    throw new FairleadError('STREAM_INTERRUPTED', 'what was received is not what was sent, and was dropped');
  }

  /** Keeps a tar of what a volume has before it is replaced, on disk once this resolves. */
  async keepOld(id: string, source: Readable): Promise<Sum> {
    return sumOf(await writeTar(this.#path(id, 'old.tar'), source, emptyDigest(), (bytes) => this.requireRoom(bytes)));
  }

  old(id: string): Readable {
    return createReadStream(this.#path(id, 'old.tar'));
  }

  async writeJournal(id: string, journal: Journal): Promise<void> {
    await this.#makeDirectory();
    await writeFileAtomic(this.#path(id, 'json'), `${JSON.stringify(journal)}\n`, PRIVATE_MODE);
  }

  /** @throws FairleadError VALIDATION for a file that is damaged */
  async readJournal(id: string): Promise<Journal | undefined> {
    const path = this.#path(id, 'json');
    try {
      return validate(Journal, JSON.parse(await readFile(path, 'utf8')), path);
    } catch (error) {
      if (isMissing(error)) return undefined;
      if (!(error instanceof SyntaxError)) throw error;
      throw new FairleadError('VALIDATION', `${path} is damaged`, { cause: error });
    }
  }

  async forgetJournal(id: string): Promise<void> {
    await rm(this.#path(id, 'json'), { force: true });
    await rm(this.#path(id, 'old.tar'), { force: true });
  }

  /** Drops the tars of a transfer whose volume is as it should be. */
  async dropTars(id: string): Promise<void> {
    this.#digests.delete(id);
    await rm(this.#path(id, 'tar'), { force: true });
    await rm(this.#path(id, 'old.tar'), { force: true });
  }

  /** Drops what was received, and what is known of it; not what a volume is made whole with. */
  async discard(id: string): Promise<void> {
    this.#digests.delete(id);
    await rm(this.#path(id, 'tar'), { force: true });
    const journal = await this.readJournal(id).catch(() => undefined);
    if (journal?.state === 'done') await this.forgetJournal(id);
  }

  /** All transfers of which there is something. */
  async ids(): Promise<string[]> {
    try {
      const ids = (await readdir(this.#directory)).flatMap((name) => FILE.exec(name)?.[1] ?? []);
      return [...new Set(ids)];
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  /**
   * Removes what was abandoned, but for what a volume has still to be made whole with.
   * @param isInUse tells transfers that are being put in place
   * @param keepMs how long it must not have been touched
   * @returns how many transfers
   */
  async sweep(isInUse: (id: string) => boolean, keepMs = ABANDONED_MS): Promise<number> {
    let swept = 0;
    for (const id of await this.ids()) {
      if (this.#busy.has(id) || isInUse(id) || !(await this.#isSpent(id))) continue;
      const touched = await Promise.all([this.#touchedAt(id, 'tar'), this.#touchedAt(id, 'json')]);
      if (this.#clock.now() - Math.max(...touched) < keepMs) continue;
      await this.dropTars(id);
      await this.forgetJournal(id);
      swept += 1;
    }
    return swept;
  }

  /** Whether no volume needs what is kept of a transfer. What cannot be read may be needed. */
  async #isSpent(id: string): Promise<boolean> {
    try {
      return (await this.readJournal(id))?.state !== 'undoable';
    } catch (error) {
      if (isFairleadError(error)) return false;
      throw error;
    }
  }

  /** @throws FairleadError CONFLICT when the disk has no room for so many bytes more */
  async requireRoom(bytes: number): Promise<void> {
    await this.#makeDirectory();
    const { bavail, bsize } = await statfs(this.#directory);
    const free = bavail * bsize - RESERVE_BYTES;
    if (free >= bytes) return;
    const numbers = `${mebibytes(Math.max(0, free))} of it can be used, and ${mebibytes(bytes)} are needed`;
    throw new FairleadError('CONFLICT', `the disk under the agent's state directory has no room: ${numbers}`);
  }

  async #append(id: string, source: Readable, before: Digest): Promise<Digest> {
    const path = this.#path(id, 'tar');
    const digest = { ...before };
    try {
      return await writeTar(path, source, digest, (bytes) => this.requireRoom(bytes));
    } finally {
      // Whoever goes on need not read again what was written.
      this.#digests.set(id, digest);
    }
  }

  async #digestOf(id: string): Promise<Digest> {
    const path = this.#path(id, 'tar');
    const known = this.#digests.get(id);
    const size = await sizeOf(path);
    if (known?.bytes === size) return known;
    const digest = await digestFile(path);
    this.#digests.set(id, digest);
    return digest;
  }

  /** Shortens the file to `offset`. @returns the digest of what is left */
  async #digestAt(id: string, offset: number): Promise<Digest> {
    const path = this.#path(id, 'tar');
    const size = await sizeOf(path);
    if (offset > size) throw new FairleadError('CONFLICT', `only ${size} bytes of this transfer are here`);
    if (size > offset) await truncate(path, offset);
    if (offset === 0) return emptyDigest();
    const { bytes, hash } = await this.#digestOf(id);
    return { bytes, hash: hash.copy() };
  }

  async #requirePlace(id: string): Promise<void> {
    const ids = await this.ids();
    if (ids.includes(id) || ids.length < MAX_SPOOLS) return;
    throw new FairleadError('OVERLOADED', `${MAX_SPOOLS} transfers to this host are not finished yet`);
  }

  /** One piece of work for each transfer at a time. @throws FairleadError OVERLOADED: the other one may not have noticed its end yet */
  async #alone<T>(id: string, work: () => Promise<T>): Promise<T> {
    if (this.#busy.has(id)) throw new FairleadError('OVERLOADED', 'this transfer is being worked at already');
    this.#busy.add(id);
    try {
      return await work();
    } finally {
      this.#busy.delete(id);
    }
  }

  async #touchedAt(id: string, sort: Sort): Promise<number> {
    try {
      return (await stat(this.#path(id, sort))).mtimeMs;
    } catch (error) {
      if (isMissing(error)) return 0;
      throw error;
    }
  }

  async #makeDirectory(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
  }

  #path(id: string, sort: Sort): string {
    return join(this.#directory, `${id}.${sort}`);
  }
}

/** Writes `source` behind what `digest` says is there, and keeps `digest` at what was written. */
async function writeTar(
  path: string,
  source: Readable,
  digest: { -readonly [K in keyof Digest]: Digest[K] },
  requireRoom: (bytes: number) => Promise<void>,
): Promise<Digest> {
  const file = await open(path, digest.bytes === 0 ? 'w' : 'r+', PRIVATE_MODE);
  try {
    let looked = digest.bytes;
    // Whose source it is says what becomes of it.
    for await (const chunk of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      if (digest.bytes - looked >= LOOK_EVERY_BYTES) {
        await requireRoom(LOOK_EVERY_BYTES);
        looked = digest.bytes;
      }
      await writeAll(file, chunk, digest.bytes);
      digest.bytes += chunk.byteLength;
      digest.hash.update(chunk);
    }
    await file.sync();
    return digest;
  } catch (error) {
    throw diskError(error);
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, chunk: Buffer, position: number): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) {
    at += (await file.write(chunk, at, chunk.byteLength - at, position + at)).bytesWritten;
  }
}

async function digestFile(path: string): Promise<Digest> {
  if ((await sizeOf(path)) === 0) return emptyDigest();
  const digest = { ...emptyDigest() };
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    digest.bytes += chunk.byteLength;
    digest.hash.update(chunk);
  }
  return digest;
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function diskError(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code !== 'ENOSPC' && code !== 'EDQUOT' && code !== 'EFBIG') return error;
  return new FairleadError('CONFLICT', "the disk under the agent's state directory is full", { cause: error });
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / (1024 * 1024))} MiB`;
}
