/** Makes backups of a server that runs: one at a time, each encrypted as it leaves. */
import { createHash } from 'node:crypto';
import { constants, createReadStream, rmSync } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BaseLogger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { VERSION } from '../../shared/version.ts';
import type { Store } from '../store/store.ts';
import { storeError } from '../store/store-errors.ts';
import { makeTemporary } from '../store/temporary.ts';
import { type BackupKey, newHeader } from './header.ts';
import {
  contentBytes,
  DATABASE,
  JOURNAL,
  MASTER_KEY,
  type Manifest,
  newManifest,
  type Part,
  writeContent,
} from './manifest.ts';
import { CHUNK_BYTES, sealedBytes, sealStream } from './sealed-stream.ts';

export interface BackupsDeps {
  readonly store: Pick<Store, 'dataDir' | 'snapshot'>;
  /** The CA, which may be another one by the next backup. */
  readonly authority: {
    readonly installationId: string;
    readonly caFingerprint: string;
    readonly seal: { readonly kind: Manifest['caSeal'] };
  };
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'info'>;
}

/** A backup that is ready to be sent. To be released in any case. */
export interface Backup {
  readonly manifest: Manifest;
  /** The size of the file. */
  readonly bytes: number;
  /** The file. */
  readonly chunks: AsyncIterable<Buffer>;
  /** Removes what it rests on, and lets the next one begin. Idempotent. */
  release(): void;
}

export class Backups {
  readonly #deps: BackupsDeps;
  #running: Promise<void> | undefined;
  readonly #closed = new AbortController();

  constructor(deps: BackupsDeps) {
    this.#deps = deps;
  }

  /**
   * Takes a snapshot and makes it ready to be sent.
   * @param by who asked for it
   * @throws FairleadError CONFLICT while there is another one, VALIDATION for a recipe out of bounds, STORE_FULL,
   *   STORE_UNAVAILABLE, or the reason of `signal`. Nothing is left behind then.
   */
  async create(key: BackupKey, by: string, signal: AbortSignal): Promise<Backup> {
    const header = newHeader(key.recipe);
    const release = this.#begin();
    try {
      const began = this.#deps.clock.monotonic();
      const all = AbortSignal.any([signal, this.#closed.signal]);
      const { manifest, open } = await this.#collect(by, all);
      const bytes = sealedBytes(contentBytes(manifest));
      const ms = Math.round(this.#deps.clock.monotonic() - began);
      this.#deps.log.info({ by, bytes, ms }, 'a backup is ready to be sent');
      return { manifest, bytes, chunks: sealStream(key.key, header, writeContent(manifest, open)), release };
    } catch (error) {
      release();
      throw storeError(error, this.#deps.store.dataDir);
    }
  }

  /** Ends one that is being made, and waits until nothing is left of it. Idempotent. */
  async close(): Promise<void> {
    this.#closed.abort(new FairleadError('SHUTDOWN', 'the server is shutting down'));
    await this.#running;
  }

  /** @returns what ends it; idempotent */
  #begin(): () => void {
    this.#closed.signal.throwIfAborted();
    if (this.#running !== undefined) {
      throw new FairleadError('CONFLICT', 'another backup is being made: wait for its end');
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#running = promise;
    return () => {
      if (this.#running !== promise) return;
      rmSync(join(this.#deps.store.dataDir, 'backup.tmp'), { recursive: true, force: true });
      this.#running = undefined;
      resolve();
    };
  }

  /** Puts the parts together. The key of the CA must be the one that belongs to the snapshot. */
  async #collect(
    by: string,
    signal: AbortSignal,
  ): Promise<{ manifest: Manifest; open: (part: Part) => AsyncIterable<Buffer> | Buffer[] }> {
    const { store, clock, authority } = this.#deps;
    const { installationId, caFingerprint } = authority;
    const directory = makeTemporary(store.dataDir, 'backup.tmp');
    const masterKey = await this.#masterKey();
    const caSeal = this.#deps.authority.seal.kind;
    const createdAt = new Date(clock.now()).toISOString();
    const { schemaVersion, ...database } = await store.snapshot(join(directory, DATABASE), signal);
    // Revocations that are journaled meanwhile are welcome: they are of after the snapshot.
    const journal = await this.#copyJournal(join(directory, JOURNAL));
    signal.throwIfAborted();
    const after = await this.#masterKey();
    if (
      this.#deps.authority.seal.kind !== caSeal ||
      !(after?.equals(masterKey ?? Buffer.alloc(0)) ?? masterKey === undefined)
    ) {
      throw new FairleadError('CONFLICT', "the CA's key was sealed anew while the backup was made: make it again");
    }
    const parts: Part[] = [{ name: DATABASE, ...database }];
    if (masterKey !== undefined) parts.push({ name: MASTER_KEY, ...digest(masterKey) });
    if (journal !== undefined) parts.push({ name: JOURNAL, ...journal });
    const manifest = newManifest({
      version: VERSION,
      schemaVersion,
      createdAt,
      createdBy: by,
      installationId,
      caFingerprint,
      caSeal,
      parts,
    });
    const open = ({ name }: Part) =>
      name === MASTER_KEY && masterKey !== undefined
        ? [masterKey]
        : createReadStream(join(directory, name), { highWaterMark: CHUNK_BYTES });
    return { manifest, open };
  }

  /** @throws FairleadError STORE_UNAVAILABLE if it is missing though the CA's key rests under it */
  async #masterKey(): Promise<Buffer | undefined> {
    const file = join(this.#deps.store.dataDir, MASTER_KEY);
    try {
      return await readFile(file);
    } catch (cause) {
      if (!isMissing(cause)) throw cause;
      if (this.#deps.authority.seal.kind === 'passphrase') return undefined;
      throw new FairleadError('STORE_UNAVAILABLE', `${file} is missing: no backup without it could be restored`, {
        cause,
      });
    }
  }

  async #copyJournal(to: string): Promise<{ size: number; sha256: string } | undefined> {
    try {
      await copyFile(join(this.#deps.store.dataDir, JOURNAL), to, constants.COPYFILE_EXCL);
    } catch (cause) {
      if (isMissing(cause)) return undefined;
      throw cause;
    }
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of createReadStream(to, { highWaterMark: CHUNK_BYTES })) {
      hash.update(chunk);
      size += chunk.length;
    }
    return { size, sha256: hash.digest('hex') };
  }
}

function digest(bytes: Buffer): { size: number; sha256: string } {
  return { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
