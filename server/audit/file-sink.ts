/** Appends the audit log to a file: whole lines, on the disk before they count, and into a new file once the old one was moved. */
import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDirectory } from '../../shared/atomic-file.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Batch, Sink } from './forwarder.ts';

const MODE = 0o600;
const NEWLINE = 0x0a;
const { O_APPEND, O_CREAT, O_RDWR } = constants;

export class FileSink implements Sink {
  readonly key: string;
  readonly name: string;
  readonly #path: string;
  #file: FileHandle | undefined;

  /** @param path absolute */
  constructor(path: string) {
    this.name = `file:${path}`;
    this.key = this.name;
    this.#path = path;
  }

  /** @throws FairleadError VALIDATION if the file cannot be written */
  async check(): Promise<void> {
    try {
      await this.#opened();
    } catch (cause) {
      const why =
        cause instanceof FairleadError ? 'it is no regular file' : ((cause as NodeJS.ErrnoException).code ?? cause);
      throw new FairleadError('VALIDATION', `--audit-file: ${this.#path} cannot be written (${why})`, { cause });
    }
  }

  async send({ text }: Batch): Promise<void> {
    const file = await this.#opened();
    const { size } = await file.stat();
    try {
      await file.appendFile(text);
      await file.datasync();
    } catch (error) {
      // Half a batch would be read as whole lines and a torn one. Should this fail, too, the next opening mends the line.
      await cutBack(file, size).catch(() => undefined);
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** The file that stands at the path now: whoever rotates it moves it away. */
  async #opened(): Promise<FileHandle> {
    if (this.#file !== undefined && (await this.#isMoved(this.#file))) await this.close();
    this.#file ??= await this.#open();
    return this.#file;
  }

  async #open(): Promise<FileHandle> {
    const file = await open(this.#path, O_APPEND | O_CREAT | O_RDWR, MODE);
    try {
      const found = await file.stat();
      if (!found.isFile()) throw new FairleadError('VALIDATION', `${this.#path} is not a regular file`);
      await syncDirectory(dirname(this.#path));
      if (found.size > 0 && (await lastByte(file, found.size)) !== NEWLINE) await file.appendFile('\n');
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async #isMoved(file: FileHandle): Promise<boolean> {
    const mine = await file.stat();
    const there = await stat(this.#path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    return there?.ino !== mine.ino || there.dev !== mine.dev;
  }
}

/** Whoever rotates by copying may have emptied the file meanwhile: it is never made longer. */
async function cutBack(file: FileHandle, size: number): Promise<void> {
  if ((await file.stat()).size > size) await file.truncate(size);
}

async function lastByte(file: FileHandle, size: number): Promise<number | undefined> {
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0];
}
