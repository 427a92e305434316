/** Lets what a command follows outlast a restart of the server and a cut of the network, for a while. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../../shared/backoff.ts';
import { type ErrorCode, type FairleadError, isFairleadError } from '../../shared/errors.ts';
import { UnreachableError } from '../../shared/pinned-http.ts';
import { printable } from '../../shared/printable.ts';
import { brokenOff, describeError } from './errors.ts';
import { type CliIo, write } from './io.ts';

/** How long a server that was lost is asked again. */
const COMEBACK_MS = 300_000;
const BACKOFF = { minMs: 500, maxMs: 10_000 };
/** What lived so long was no failed attempt. */
const SETTLED_MS = 10_000;

/** How an answer ends that was being read when the server, or the way to it, was lost. */
const INTERRUPTIONS: ReadonlySet<ErrorCode> = new Set(['STREAM_INTERRUPTED', 'SHUTDOWN']);
/** What a server that has just come back may answer, before its hosts have. */
const NOT_YET: ReadonlySet<ErrorCode> = new Set([
  ...INTERRUPTIONS,
  'SERVER_UNREACHABLE',
  'HOST_OFFLINE',
  'DOCKER_UNREACHABLE',
  'OVERLOADED',
  'STORE_UNAVAILABLE',
  'TIMEOUT',
]);

/** The interruptions of one answer. What is lost, and found again, is told on stderr. */
export class ServerComeback {
  readonly #io: CliIo;
  readonly #backoff = new Backoff({ ...BACKOFF, random: Math.random });
  /** When it must be back, by performance.now(). */
  #deadline: number | undefined;
  #isAway = false;

  constructor(io: CliIo) {
    this.#io = io;
  }

  /**
   * Waits until it is worth to ask again.
   * @param error what ended the answer, or what asking again failed with
   * @param livedMs how long the answer had been read; 0 for an attempt that failed
   * @throws `error` if that is no interruption, or the time is over
   */
  async wait(error: unknown, livedMs: number): Promise<void> {
    const cause = brokenOff(error);
    if (livedMs > SETTLED_MS) {
      this.#deadline = undefined;
      this.#backoff.reset();
    }
    const now = performance.now();
    const isOver = this.#deadline !== undefined && now >= this.#deadline;
    if (isOver || !isWorthWaiting(cause, this.#deadline === undefined ? INTERRUPTIONS : NOT_YET)) throw cause;
    this.#deadline ??= now + COMEBACK_MS;
    if (!this.#isAway) await this.#tell(`${describeError(cause)}; trying again for ${COMEBACK_MS / 60_000} minutes`);
    this.#isAway = true;
    await sleep(this.#backoff.next());
  }

  /** Says that the answer goes on. */
  async found(): Promise<void> {
    if (this.#isAway) await this.#tell('connected again; it goes on where it stopped');
    this.#isAway = false;
  }

  /** Waits, and asks again, until that succeeds. @throws what `wait` throws */
  async reopen<T>(error: unknown, livedMs: number, open: () => Promise<T>): Promise<T> {
    let [cause, lived] = [error, livedMs];
    for (;;) {
      await this.wait(cause, lived);
      try {
        const opened = await open();
        await this.found();
        return opened;
      } catch (failure) {
        [cause, lived] = [failure, 0];
      }
    }
  }

  async #tell(text: string): Promise<void> {
    await write(this.#io.stderr, `fairlead: ${printable(text)}\n`);
  }
}

function isWorthWaiting(error: unknown, codes: ReadonlySet<ErrorCode>): boolean {
  // A server that cannot be verified is another one, or needs somebody to look at it.
  if (error instanceof UnreachableError && error.failure === 'tls') return false;
  return isFairleadError(error) && codes.has((error as FairleadError).code);
}
