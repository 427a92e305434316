/** upgrade.json: how far the way from one executable to the next has come, which releases have failed here, and how the last one ended. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_REASON_CHARS } from '../../shared/limits.ts';
import { Release, SignedRelease } from '../../shared/releases/release.ts';
import { validate } from '../../shared/validate.ts';
import { UPGRADE_FILE } from '../identity/state-dir.ts';
import { durableDisk, type UpgradeDisk } from './files.ts';
import { MAX_REFUSED } from './limits.ts';

const MODE = 0o600;

const { sequence, version } = Release.properties;
const code = Type.String({ maxLength: 64 });
const detail = Type.String({ maxLength: MAX_REASON_CHARS });

/** A release that has failed here and is not tried again. */
const RefusedRelease = Type.Object({ sequence, version, code, detail, /** RFC 3339. */ at: Type.String() });

const EndedUpgrade = Type.Object({
  sequence,
  version,
  state: Type.Enum(['done', 'failed', 'refused']),
  code: Type.Optional(code),
  detail: Type.Optional(detail),
  /** RFC 3339. */
  at: Type.String(),
});
export type EndedUpgrade = Static<typeof EndedUpgrade>;

const CurrentUpgrade = Type.Object({
  release: SignedRelease,
  /**
   * Up to `trying` the executable is untouched. From `settling` on it may be the new one, and the one before stands beside it
   * until `settled`.
   */
  step: Type.Enum(['downloading', 'verifying', 'trying', 'settling', 'settled']),
  /** Since when it is at this step, RFC 3339. */
  since: Type.String(),
  /** The executable that is to be replaced. */
  executable: Type.String({ minLength: 1 }),
  /** How often the new one was tried. */
  trials: Type.Integer({ minimum: 0 }),
  /** How often the new one has started without settling. */
  starts: Type.Integer({ minimum: 0 }),
});
export type CurrentUpgrade = Static<typeof CurrentUpgrade>;

/** The contents of upgrade.json. */
export const UpgradeRecord = Type.Object({
  /** The highest sequence of a release that has settled here; 0: none. */
  sequence: Type.Integer({ minimum: 0 }),
  refused: Type.Array(RefusedRelease, { maxItems: MAX_REFUSED }),
  current: Type.Optional(CurrentUpgrade),
  /** How the last one ended; told to the server at each welcome. */
  last: Type.Optional(EndedUpgrade),
});
export type UpgradeRecord = Static<typeof UpgradeRecord>;

/** Why a release came to nothing. */
export interface UpgradeFailure {
  readonly code: string;
  readonly detail: string;
  /** Whether it is to be tried again when the server wishes it again. */
  readonly again: boolean;
}

/** The contents of upgrade.json, or undefined if there is none. @throws FairleadError VALIDATION when it is damaged */
export async function readUpgradeRecord(stateDir: string): Promise<UpgradeRecord | undefined> {
  const path = join(stateDir, UPGRADE_FILE);
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new FairleadError('VALIDATION', `${path} cannot be read`, { cause: error });
  }
  return validate(UpgradeRecord, value, path);
}

interface JournalOptions {
  readonly disk?: UpgradeDisk;
  readonly now: () => number;
  /** Of the release that the executable was built for: it has run here, whatever the file says. */
  readonly sequence?: number | undefined;
}

/** The journal of the process that holds the state directory. */
export class UpgradeJournal {
  readonly #path: string;
  readonly #disk: UpgradeDisk;
  readonly #now: () => number;
  #record: UpgradeRecord;
  /** The change that is being written, and those behind it. */
  #changes: Promise<void> = Promise.resolve();

  /** @throws FairleadError VALIDATION when upgrade.json is damaged */
  static async load(
    stateDir: string,
    { disk = durableDisk, now, sequence = 0 }: JournalOptions,
  ): Promise<UpgradeJournal> {
    const record = (await readUpgradeRecord(stateDir)) ?? { sequence, refused: [] };
    const known = { ...record, sequence: Math.max(sequence, record.sequence) };
    return new UpgradeJournal(join(stateDir, UPGRADE_FILE), disk, now, known);
  }

  /** One that begins anew, whatever the file says. */
  static empty(stateDir: string, { disk = durableDisk, now, sequence = 0 }: JournalOptions): UpgradeJournal {
    return new UpgradeJournal(join(stateDir, UPGRADE_FILE), disk, now, { sequence, refused: [] });
  }

  private constructor(path: string, disk: UpgradeDisk, now: () => number, record: UpgradeRecord) {
    this.#path = path;
    this.#disk = disk;
    this.#now = now;
    this.#record = record;
  }

  get record(): UpgradeRecord {
    return this.#record;
  }

  get current(): CurrentUpgrade | undefined {
    return this.#record.current;
  }

  /** An upgrade begins, or goes on at another step. @throws the file system's error, and then nothing has changed */
  async step(step: CurrentUpgrade['step'], change: Omit<CurrentUpgrade, 'step' | 'since'>): Promise<void> {
    await this.#change((record) => ({ ...record, current: { ...change, step, since: this.#time() } }));
  }

  /** The new executable has settled; what stands beside it is still to be removed. */
  async settled(current: CurrentUpgrade): Promise<void> {
    const { sequence, version } = current.release;
    const at = this.#time();
    await this.#change((record) => ({
      ...record,
      sequence: Math.max(sequence, record.sequence),
      current: { ...current, step: 'settled', since: at },
      last: { sequence, version, state: 'done', at },
    }));
  }

  /** Nothing stands beside the executable any more. */
  async clear(): Promise<void> {
    await this.#change(({ current: _, ...rest }) => rest);
  }

  /** A release came to nothing: what is under way of it is forgotten. */
  async failed(release: Pick<Release, 'sequence' | 'version'>, { code, detail, again }: UpgradeFailure): Promise<void> {
    const failure = this.#failure(release, code, detail);
    await this.#change(({ current: _, ...rest }) => {
      const others = rest.refused.filter((each) => each.sequence !== release.sequence);
      const refused = again ? rest.refused : [...others, failure].slice(-MAX_REFUSED);
      return { ...rest, refused, last: { ...failure, state: 'failed' } };
    });
  }

  /** An offer was not taken. Writes nothing if that is what was written last, or why that release has failed. */
  async refused(release: Pick<Release, 'sequence' | 'version'>, code: string, detail: string): Promise<void> {
    const failure = this.#failure(release, code, detail);
    await this.#change((record) => {
      const { last } = record;
      const isLast = last?.sequence === failure.sequence;
      const isKnown =
        isLast && (last.state === 'failed' || (last.state === 'refused' && last.detail === failure.detail));
      return isKnown ? record : { ...record, last: { ...failure, state: 'refused' } };
    });
  }

  #failure({ sequence, version }: Pick<Release, 'sequence' | 'version'>, code: string, detail: string) {
    return { sequence, version, code, detail: detail.slice(0, MAX_REASON_CHARS), at: this.#time() };
  }

  #time(): string {
    return new Date(this.#now()).toISOString();
  }

  /** One after the other: each is made of what the one before it has left. */
  async #change(make: (record: UpgradeRecord) => UpgradeRecord): Promise<void> {
    const change = this.#changes.then(async () => {
      const record = make(this.#record);
      if (record === this.#record) return;
      await this.#disk.write(this.#path, `${JSON.stringify(record)}\n`, MODE);
      this.#record = record;
    });
    // Whoever has asked for it sees the error; the next one begins all the same.
    this.#changes = change.catch(() => undefined);
    await change;
  }
}
