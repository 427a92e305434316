/**
 * What was revoked, in a file beside the database that only grows: `revoked.ndjson`. An older database that is put in
 * place of the one that knew is told of it again at the next start, so that it brings nothing back.
 *
 * One line of JSON for each revocation, with a checksum of its own as the last field; a line counts once it is on the disk.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import Type, { type Static } from 'typebox';
import { syncDirectory, writeFileAtomic } from '../../shared/atomic-file.ts';
import { FairleadError } from '../../shared/errors.ts';
import { fits } from '../../shared/validate.ts';

/** Larger files are not read: some two million revocations. */
const MAX_FILE_BYTES = 512 * 1024 * 1024;
/** Revocations that may wait for the disk. */
const MAX_WAITING = 100_000;
const MODE = 0o600;

export const Revocation = Type.Object({
  /** What was revoked: `certificate`, `host`, `api-token`, … One that this version does not know is kept as it is. */
  kind: Type.String({ minLength: 1, maxLength: 64 }),
  id: Type.String({ minLength: 1, maxLength: 256 }),
  /** ms since 1970. */
  at: Type.Integer({ minimum: 0 }),
  /** When it no longer matters, in ms since 1970; absent: never. */
  until: Type.Optional(Type.Integer({ minimum: 0 })),
  reason: Type.Optional(Type.String()),
});
export type Revocation = Static<typeof Revocation>;

interface Batch {
  readonly revocations: Revocation[];
  readonly done: Promise<void>;
}

export class RevocationJournal {
  /** What stood in the file, without what no longer matters. */
  readonly replayed: readonly Revocation[];
  /** Whether the last line was cut off, as by a crash while it was written; it has been dropped. */
  readonly wasTorn: boolean;
  readonly #file: FileHandle;
  /** What is in the file and since when it counts, so that nothing is in it twice but what counts earlier than it was to. */
  readonly #known: Map<string, number>;
  /** Bytes of whole lines that are on the disk. */
  #length: number;
  /** Whether something else may stand behind them, from a write that failed. */
  #isDirty = false;
  #next: Batch | undefined;
  /** Settles when what is being written is written. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(file: FileHandle, length: number, replayed: readonly Revocation[], wasTorn: boolean) {
    this.#file = file;
    this.#length = length;
    this.replayed = replayed;
    this.wasTorn = wasTorn;
    this.#known = new Map(replayed.map((one) => [keyOf(one), one.at]));
  }

  /**
   * Opens the journal, makes it if there is none, and drops from it what is past by `now` (ms since 1970).
   * @throws FairleadError STORE_UNAVAILABLE if a line of it is damaged; or the file system's error
   */
  static async open(path: string, now: number): Promise<RevocationJournal> {
    const { revocations, isTorn } = readJournal(path);
    const kept = joined(revocations).filter((one) => (one.until ?? now) >= now);
    const text = kept.map(lineOf).join('');
    if (isTorn || kept.length < revocations.length) await writeFileAtomic(path, text, MODE);
    const file = await open(path, 'a', MODE);
    try {
      await file.chmod(MODE);
      await syncDirectory(dirname(path));
    } catch (error) {
      await file.close();
      throw error;
    }
    return new RevocationJournal(file, Buffer.byteLength(text), kept, isTorn);
  }

  /** Whether the file holds this already. */
  has(revocation: Pick<Revocation, 'kind' | 'id'>): boolean {
    return this.#known.has(keyOf(revocation));
  }

  /**
   * Adds what is not there yet, or counts earlier than is known there; resolves once it is on the disk. Calls that come
   * while the disk is busy share one write.
   * @throws FairleadError OVERLOADED, or the file system's error; then none of it is in the file
   */
  async append(revocations: readonly Revocation[]): Promise<void> {
    if (revocations.length === 0) return;
    this.#next ??= this.#newBatch();
    if (this.#next.revocations.length + revocations.length > MAX_WAITING) {
      throw new FairleadError('OVERLOADED', 'too many revocations wait for the disk', { retryAfterSeconds: 1 });
    }
    this.#next.revocations.push(...revocations);
    await this.#next.done;
  }

  /** Waits for what is being written. Idempotent. */
  async close(): Promise<void> {
    await this.#turn;
    await this.#file.close();
  }

  #newBatch(): Batch {
    const revocations: Revocation[] = [];
    const done = this.#turn.then(async () => {
      this.#next = undefined;
      await this.#write(revocations);
    });
    // Its callers are told of a failure; the next batch comes after it all the same.
    this.#turn = done.catch(() => undefined);
    return { revocations, done };
  }

  async #write(revocations: readonly Revocation[]): Promise<void> {
    const fresh = joined(
      revocations.filter((one) => one.at < (this.#known.get(keyOf(one)) ?? Number.POSITIVE_INFINITY)),
    );
    if (fresh.length === 0) return;
    const text = Buffer.from(fresh.map(lineOf).join(''));
    if (this.#isDirty) await this.#file.truncate(this.#length);
    this.#isDirty = true;
    await this.#file.appendFile(text);
    await this.#file.datasync();
    this.#isDirty = false;
    this.#length += text.length;
    for (const one of fresh) this.#known.set(keyOf(one), one.at);
  }
}

/**
 * All that a journal's file holds; nothing, if there is no file.
 * @throws FairleadError STORE_UNAVAILABLE if a line is damaged that is not the last; or the file system's error
 */
export function readJournal(path: string): { revocations: Revocation[]; isTorn: boolean } {
  if (!existsSync(path)) return { revocations: [], isTorn: false };
  if (statSync(path).size > MAX_FILE_BYTES) {
    throw new FairleadError('STORE_UNAVAILABLE', `${path} is larger than ${MAX_FILE_BYTES} bytes`);
  }
  const lines = readFileSync(path, 'utf8').split('\n');
  // Behind the last line break there is nothing, or what a crash has left of a line.
  const rest = lines.pop() ?? '';
  const revocations: Revocation[] = [];
  for (const [index, line] of lines.entries()) {
    const revocation = parseLine(line);
    if (revocation !== undefined) revocations.push(revocation);
    else if (index === lines.length - 1 && rest === '') return { revocations, isTorn: true };
    else throw damaged(path, index + 1);
  }
  return { revocations, isTorn: rest !== '' };
}

/** Each thing once: it is revoked as soon as any entry says, and for as long as any says. */
function joined(revocations: readonly Revocation[]): Revocation[] {
  const all = new Map<string, Revocation>();
  for (const one of revocations) {
    const key = keyOf(one);
    const other = all.get(key);
    all.set(key, other === undefined ? one : join(other, one));
  }
  return [...all.values()];
}

function join(one: Revocation, other: Revocation): Revocation {
  const { until: _, ...first } = other.at < one.at ? other : one;
  if (one.until === undefined || other.until === undefined) return first;
  return { ...first, until: Math.max(one.until, other.until) };
}

function damaged(path: string, line: number): FairleadError {
  return new FairleadError(
    'STORE_UNAVAILABLE',
    `line ${line} of ${path} is damaged, which records what was revoked: put the file back from a copy of it, or else ` +
      'delete that line alone; what it recorded is then revoked only as far as fairlead.db knows it',
  );
}

const CHECKED = /^(\{.*),"crc":"([0-9a-f]{8})"\}$/s;
/** What JSON leaves as it is and some readers take for the end of a line. */
const SEPARATORS = /[\u0085\u2028\u2029]/g;

export function lineOf({ kind, id, at, until, reason }: Revocation): string {
  const json = JSON.stringify({ kind, id, at, until, reason });
  const body = json.replace(SEPARATORS, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`).slice(0, -1);
  return `${body},"crc":"${checksum(body)}"}\n`;
}

function parseLine(line: string): Revocation | undefined {
  const [, body = '', crc] = CHECKED.exec(line) ?? [];
  if (checksum(body) !== crc) return undefined;
  try {
    const value: unknown = JSON.parse(`${body}}`);
    return fits(Revocation, value) ? value : undefined;
  } catch {
    return undefined; // a checksum is no signature: whoever made this one wrote no JSON
  }
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}

function keyOf({ kind, id }: Pick<Revocation, 'kind' | 'id'>): string {
  return `${kind} ${id}`;
}
