/**
 * Takes the releases that the server offers: checked, downloaded and tried while the agent serves on, then put in its place.
 * One at a time; what is interrupted goes on over the next session, if the server wishes it still.
 */
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { MAX_REASON_CHARS } from '../../shared/limits.ts';
import {
  type AgentUpgrade,
  type AgentUpgradeStatus,
  agentUpgrade,
  agentUpgradeStatus,
  releaseRead,
  type UpgradeAbility,
} from '../../shared/messages/release.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import type { ReleaseKeys } from '../../shared/releases/signature.ts';
import type { Connection, ControlHandler } from '../link/connect.ts';
import { Attempt, type AttemptOptions, type Progress } from './attempt.ts';
import { REFUSAL_PACE_MS } from './limits.ts';
import { checkOffer } from './offer-check.ts';
import { SpoiledDownloads } from './spoiled-downloads.ts';
import { removeBeside } from './swap.ts';

export interface UpgraderOptions extends AttemptOptions {
  readonly keys: ReleaseKeys;
  /** By the names that Node has for systems and architectures. */
  readonly os: string;
  readonly arch: string;
  /** Why this agent cannot replace itself; undefined: it can. */
  readonly inability: string | undefined;
}

/** What belongs to one session. */
interface Link {
  readonly session: Session;
  /** Whether the server takes reports, and whether it serves releases. */
  readonly tells: boolean;
  readonly reads: boolean;
  readonly abort: AbortController;
}

export class Upgrader {
  readonly #options: UpgraderOptions;
  /** What the server says that concerns upgrades. */
  readonly controls: ReadonlyMap<number, ControlHandler>;
  readonly #spoiled: SpoiledDownloads;
  #link: Link | undefined;
  /** Offered, and not looked at yet. */
  #wanted: SignedRelease | undefined;
  #attempt: Attempt | undefined;
  #work: Promise<void> | undefined;
  #refusedAt = Number.NEGATIVE_INFINITY;

  constructor(options: UpgraderOptions) {
    this.#options = options;
    this.#spoiled = new SpoiledDownloads(options.clock);
    this.controls = new Map<number, ControlHandler>([
      [agentUpgrade.code, (value) => this.#offer((value as AgentUpgrade).release)],
    ]);
  }

  /** What the hello says of upgrades. */
  ability(): UpgradeAbility {
    const { inability, replacement } = this.#options;
    const { sequence, refused } = replacement.journal.record;
    return {
      able: inability === undefined,
      ...(inability === undefined ? {} : { reason: inability.slice(0, MAX_REASON_CHARS) }),
      sequence,
      ...(refused.length === 0 ? {} : { refused: refused.map((each) => each.sequence) }),
    };
  }

  /** A session stands: a new version has settled, what ended is told, and what the server wishes begins or goes on. */
  async attach({ session, welcome }: Connection): Promise<void> {
    const { replacement } = this.#options;
    const names = welcome.capabilities ?? [];
    const link: Link = {
      session,
      tells: names.includes(agentUpgradeStatus.name),
      reads: names.includes(releaseRead.name),
      abort: new AbortController(),
    };
    await replacement.settle();
    const wished = this.#wanted ?? welcome.upgrade;
    this.#wanted = undefined;
    this.#link = link;
    if (this.#tellLast(link, wished)) return;
    if (wished !== undefined) this.#offer(wished);
    else await this.#forget();
  }

  /** The session is over. Resolves once nothing works for it any more. Idempotent. */
  async detach(): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    this.#wanted = undefined;
    link?.abort.abort(new FairleadError('CANCELLED', 'the session ended'));
    await this.#work;
  }

  /** @returns whether that is also the answer to what the server wishes */
  #tellLast(link: Link, wished: SignedRelease | undefined): boolean {
    const { last, refused } = this.#options.replacement.journal.record;
    if (last === undefined) return false;
    const { sequence, at: _, ...status } = last;
    const isWished = wished?.sequence === sequence;
    const isAnswer = isWished && last.state === 'failed' && refused.some((each) => each.sequence === sequence);
    if (!isWished || isAnswer) this.#send(link, { ...status, sequence });
    return isAnswer;
  }

  /** The server wishes nothing any more: what has come of the last wish goes. */
  async #forget(): Promise<void> {
    const { replacement, log } = this.#options;
    const { journal, paths, disk } = replacement;
    const { current } = journal;
    if (current === undefined || current.step === 'settling' || current.step === 'settled') return;
    log.info({ version: current.release.version }, 'the server does not wish this release any more');
    try {
      await removeBeside(paths, disk);
      await journal.clear();
    } catch (err) {
      log.warn({ err }, 'what is left of a release cannot be removed');
    }
  }

  // ————— offers

  #offer(release: SignedRelease): void {
    const attempt = this.#attempt;
    const link = this.#link;
    if (this.#options.replacement.replacing.aborted) return;
    if (attempt === undefined || link === undefined) {
      this.#wanted = release;
      this.#begin();
      return;
    }
    if (attempt.release.signature === release.signature) {
      this.#tell(link, release, attempt.progress);
      return;
    }
    const refusal = this.#refusalOf(release, link) ?? busyWith(attempt);
    if (refusal !== undefined) {
      void this.#refuse(release, link, refusal);
      return;
    }
    this.#wanted = release;
    attempt.giveUp();
  }

  /** Works off what is wanted, if nothing does so yet. */
  #begin(): void {
    this.#work ??= this.#workOff().finally(() => {
      this.#work = undefined;
      if (this.#wanted !== undefined && this.#link !== undefined) this.#begin();
    });
  }

  /** Never rejects. */
  async #workOff(): Promise<void> {
    for (;;) {
      const [release, link] = [this.#wanted, this.#link];
      if (release === undefined || link === undefined) return;
      this.#wanted = undefined;
      await this.#take(release, link);
    }
  }

  /** Takes or refuses what was offered. Never rejects. */
  async #take(release: SignedRelease, link: Link): Promise<void> {
    const { own, replacement } = this.#options;
    if (release.sequence === replacement.journal.record.sequence && release.version === own.version) {
      this.#tell(link, release, { state: 'done' });
      return;
    }
    const refusal = this.#refusalOf(release, link);
    if (refusal !== undefined) return await this.#refuse(release, link, refusal);
    const report = (progress: Progress) => this.#tell(link, release, progress);
    this.#attempt = new Attempt(release, { session: link.session, ended: link.abort.signal, report }, this.#options);
    await this.#attempt.run();
    if (this.#attempt.hasFetched) this.#spoiled.clear();
    else if (this.#attempt.isSpoiled) this.#spoiled.add();
    this.#attempt = undefined;
  }

  #refusalOf(release: SignedRelease, link: Link): FairleadError | undefined {
    const { inability, own, replacement } = this.#options;
    if (inability !== undefined) return new FairleadError('CONFLICT', `this agent cannot replace itself: ${inability}`);
    if (!link.reads)
      return new FairleadError('UNSUPPORTED', 'the server does not name release.read among what it serves');
    try {
      checkOffer(release, { ...this.#options, version: own.version, record: replacement.journal.record });
      return this.#spoiled.refusal();
    } catch (error) {
      if (isFairleadError(error)) return error;
      throw error;
    }
  }

  /** Never rejects. */
  async #refuse(release: SignedRelease, link: Link, { code, message }: FairleadError): Promise<void> {
    const { inability, replacement, clock, log } = this.#options;
    const { sequence, version } = release;
    this.#tell(link, release, { state: 'refused', code, detail: message });
    if (clock.monotonic() - this.#refusedAt < REFUSAL_PACE_MS) return;
    this.#refusedAt = clock.monotonic();
    log.warn({ version, sequence, code, reason: message }, 'a release that the server wishes here is refused');
    if (inability !== undefined) return;
    await replacement.journal
      .refused(release, code, message)
      .catch((err: unknown) => log.warn({ err }, 'that a release was refused cannot be written down'));
  }

  // ————— reports

  #tell(link: Link, { sequence, version }: Pick<SignedRelease, 'sequence' | 'version'>, progress: Progress): void {
    const { detail } = progress;
    const short = detail === undefined ? {} : { detail: detail.slice(0, MAX_REASON_CHARS) };
    this.#send(link, { ...progress, ...short, sequence, version });
  }

  #send(link: Link, status: AgentUpgradeStatus): void {
    if (link.tells) link.session.sendControl(agentUpgradeStatus, status);
  }
}

/** Why another release cannot come in the place of one: only a download is given up for it. */
function busyWith({ release, progress }: Attempt): FairleadError | undefined {
  if (progress.state === 'downloading') return undefined;
  return new FairleadError(
    'CONFLICT',
    `the upgrade to ${release.version} is under way, and is ${progress.state} already`,
  );
}
