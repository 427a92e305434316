/**
 * Releases of the agent: added with their signatures, then file by file, and kept until they are removed. The server need not
 * be trusted with them: agents check each by keys of their own.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import { type ReleaseKeys, verifyRelease } from '../../shared/releases/signature.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { Store } from '../store/store.ts';
import { storeError } from '../store/store-errors.ts';
import { receiveExecutable } from './receive.ts';
import { COMPRESSED, ReleaseFolder } from './release-folder.ts';
import { fileFor, type ReleaseView, releaseView } from './release-view.ts';

/** Each takes some hundred MB of the disk for each platform. */
const MAX_RELEASES = 32;

export interface ReleasesDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** By one of which releases must be signed; none: only their form and their sums are checked. */
  readonly keys: ReleaseKeys;
}

export interface ReleasePlatform {
  readonly sequence: number;
  readonly os: string;
  readonly arch: string;
}

export class Releases {
  readonly #deps: ReleasesDeps;
  readonly #folder: ReleaseFolder;
  /** The newest first. */
  #releases: readonly ReleaseView[];
  /** Files that are coming in. */
  readonly #incoming = new Set<string>();
  readonly #needed = new Set<(sequence: number) => Promise<string | undefined>>();

  /** Removes what broken uploads have left; a file that is gone, as after a restore, is to come again. @throws FairleadError */
  static async open(deps: ReleasesDeps): Promise<Releases> {
    const { store, log } = deps;
    const folder = new ReleaseFolder(store.dataDir);
    try {
      const rows = await store.releases.all();
      await folder.clean(new Set(rows.map(({ sequence }) => sequence)));
      for (const { signed, gzBytes } of rows.flatMap(({ files }) => files)) {
        if (gzBytes === undefined || (await folder.compressedBytes(signed)) === gzBytes) continue;
        const { version, sequence, os, arch } = signed;
        log.warn({ version, sequence, os, arch }, 'the executable of a release is not there any more: upload it again');
        await store.releases.setStored(signed, undefined);
      }
      return new Releases(deps, folder, (await store.releases.all()).map(releaseView));
    } catch (error) {
      throw storeError(error, store.dataDir);
    }
  }

  private constructor(deps: ReleasesDeps, folder: ReleaseFolder, releases: readonly ReleaseView[]) {
    this.#deps = deps;
    this.#folder = folder;
    this.#releases = releases;
  }

  /** Calls `asker` before a release is removed, for why it is needed still. */
  onRemoval(asker: (sequence: number) => Promise<string | undefined>): void {
    this.#needed.add(asker);
  }

  /** All of them, the newest first. */
  list(): readonly ReleaseView[] {
    return this.#releases;
  }

  /** @throws FairleadError NOT_FOUND */
  get(sequence: number): ReleaseView {
    const found = this.#releases.find((release) => release.sequence === sequence);
    if (found === undefined) throw new FairleadError('NOT_FOUND', `there is no release with the sequence ${sequence}`);
    return found;
  }

  /**
   * The release that is meant, the newest one that is ready unless said otherwise.
   * @throws FairleadError NOT_FOUND, CONFLICT if it is not ready
   */
  chosen({ sequence, version }: { sequence?: number | undefined; version?: string | undefined }): ReleaseView {
    if (sequence !== undefined) {
      const found = this.get(sequence);
      if (version !== undefined && found.version !== version) {
        throw new FairleadError('NOT_FOUND', `the release ${sequence} is of version ${found.version}, not ${version}`);
      }
      return requireReady(found);
    }
    const fitting = this.#releases.filter((release) => version === undefined || release.version === version);
    const ready = fitting.find(({ state }) => state === 'ready');
    if (ready !== undefined) return ready;
    const [incomplete] = fitting;
    if (incomplete !== undefined) return requireReady(incomplete);
    const what = version === undefined ? 'no release' : `no release of version ${version}`;
    throw new FairleadError('NOT_FOUND', `there is ${what}: \`fairlead agent release add\` adds one`);
  }

  /** The folder with the executable of the newest release that is ready; undefined if it has none for the platform. */
  newestFolder(platform: { os: string; arch: string }): string | undefined {
    const newest = this.#releases.find(({ state }) => state === 'ready');
    const signed = newest && fileFor(newest, platform);
    return signed && this.#folder.pathOf(signed);
  }

  /** The compressed executable, which the caller opens. */
  compressedPath(signed: SignedRelease): string {
    return join(this.#folder.pathOf(signed), COMPRESSED);
  }

  /**
   * Adds a release, whose files are to come; one that is there already is answered as it stands.
   * @throws FairleadError RELEASE_INVALID, VALIDATION, CONFLICT
   */
  async add(files: readonly SignedRelease[], actor: Actor): Promise<ReleaseView> {
    const { store, audit, clock, keys } = this.#deps;
    const { sequence, version } = requireOne(files);
    for (const file of files) if (keys.size > 0) verifyRelease(file, keys);
    const known = this.#releases.find((release) => release.sequence === sequence);
    if (known !== undefined) return requireSame(known, files);
    this.#requirePlace(sequence);
    const release = { sequence, version, verified: keys.size > 0, createdBy: actor.name, createdAt: clock.now() };
    await store.transaction(async (tables) => {
      // Another one that was added in this very moment.
      if ((await tables.releases.find(sequence)) !== undefined) throw isBeingAdded(sequence);
      await tables.releases.insert(release, files);
      const detail = { version, verified: release.verified, platforms: files.map(({ os, arch }) => `${os}/${arch}`) };
      await audit.record(entry(actor, 'release.add', sequence, detail), tables);
    });
    await this.#reload();
    return this.get(sequence);
  }

  /**
   * Takes in the executable for one platform, by gzip.
   * @throws FairleadError NOT_FOUND, CONFLICT while another one comes, RELEASE_INVALID, STORE_FULL, the signal's reason;
   *   nothing is left then
   */
  async receive(platform: ReleasePlatform, body: Readable, actor: Actor, signal: AbortSignal): Promise<ReleaseView> {
    const { store, audit, clock, log } = this.#deps;
    const signed = this.#signed(platform);
    const { sequence, version, os, arch } = signed;
    const release = this.#begin(`${sequence}/${os}/${arch}`);
    let incoming: string | undefined;
    try {
      incoming = await this.#folder.incoming();
      const gzBytes = await receiveExecutable(body, incoming, signed, signal);
      // Removed while it came in.
      this.#signed(platform);
      await this.#folder.publish(incoming, signed);
      await store.transaction(async (tables) => {
        await tables.releases.setStored(signed, { gzBytes, at: clock.now() });
        await audit.record(entry(actor, 'release.upload', sequence, { version, os, arch, gzBytes }), tables);
      });
      await this.#reload();
      log.info({ version, sequence, os, arch, gzBytes }, 'an executable of the agent was taken in');
      return this.get(sequence);
    } catch (error) {
      if (incoming !== undefined) await rm(incoming, { recursive: true, force: true });
      throw storeError(error, store.dataDir);
    } finally {
      release();
    }
  }

  /** @throws FairleadError NOT_FOUND, CONFLICT while it is needed */
  async remove(sequence: number, actor: Actor): Promise<void> {
    const { store, audit } = this.#deps;
    const { version } = this.get(sequence);
    for (const asker of this.#needed) {
      const why = await asker(sequence);
      if (why !== undefined)
        throw new FairleadError('CONFLICT', `the release ${version} (${sequence}) is needed: ${why}`);
    }
    // Files that are left behind by a crash go at the next start.
    await store.transaction(async (tables) => {
      await tables.releases.delete(sequence);
      await audit.record(entry(actor, 'release.remove', sequence, { version }), tables);
    });
    await this.#reload();
    await this.#folder.remove(sequence);
  }

  async #reload(): Promise<void> {
    this.#releases = (await this.#deps.store.releases.all()).map(releaseView);
  }

  /** @throws FairleadError NOT_FOUND */
  #signed({ sequence, os, arch }: ReleasePlatform): SignedRelease {
    const signed = fileFor(this.get(sequence), { os, arch });
    if (signed !== undefined) return signed;
    throw new FairleadError('NOT_FOUND', `the release ${sequence} has nothing for ${os}/${arch}`);
  }

  /** @returns what ends it */
  #begin(key: string): () => void {
    if (this.#incoming.has(key)) throw new FairleadError('CONFLICT', 'this executable is being uploaded already');
    this.#incoming.add(key);
    return () => this.#incoming.delete(key);
  }

  #requirePlace(sequence: number): void {
    const [newest] = this.#releases;
    if (newest !== undefined && sequence <= newest.sequence) {
      throw new FairleadError(
        'CONFLICT',
        `the sequence of a release must be above ${newest.sequence}, which ${newest.version} has: sign it with a higher one`,
      );
    }
    if (this.#releases.length >= MAX_RELEASES) {
      throw new FairleadError('CONFLICT', `there are ${MAX_RELEASES} releases: remove one that is not needed any more`);
    }
  }
}

/** The one version and sequence of files for different platforms. @throws FairleadError VALIDATION */
function requireOne(files: readonly SignedRelease[]): SignedRelease {
  const [first, ...others] = files;
  if (first === undefined) throw new FairleadError('VALIDATION', 'a release has at least one file');
  for (const { version, sequence } of others) {
    if (version === first.version && sequence === first.sequence) continue;
    throw new FairleadError('VALIDATION', 'all files of a release must be of one version and one sequence');
  }
  const platforms = new Set(files.map(({ os, arch }) => `${os}/${arch}`));
  if (platforms.size === files.length) return first;
  throw new FairleadError('VALIDATION', 'a release has one file for each platform, and one stands twice');
}

/** @throws FairleadError CONFLICT */
function requireSame(known: ReleaseView, files: readonly SignedRelease[]): ReleaseView {
  const isSame =
    known.files.length === files.length &&
    files.every((file) => {
      const ours = fileFor(known, file);
      return ours?.signature === file.signature && ours.sha256 === file.sha256 && ours.version === file.version;
    });
  if (isSame) return known;
  throw new FairleadError('CONFLICT', `the sequence ${known.sequence} is that of another release, ${known.version}`);
}

function isBeingAdded(sequence: number): FairleadError {
  return new FairleadError('CONFLICT', `a release with the sequence ${sequence} is being added: ask again`);
}

function requireReady(release: ReleaseView): ReleaseView {
  if (release.state === 'ready') return release;
  const missing = release.files.filter(({ storedAt }) => storedAt === undefined);
  const platforms = missing.map(({ signed }) => `${signed.os}/${signed.arch}`).join(', ');
  throw new FairleadError('CONFLICT', `the release ${release.version} is incomplete: ${platforms} is to be uploaded`);
}

function entry({ name, address }: Actor, action: string, sequence: number, detail: Record<string, unknown>) {
  return { actor: name, address, action, target: String(sequence), result: 'ok' as const, detail };
}
