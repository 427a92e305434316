/** Has a new executable show, beside the agent that goes on serving, that it can start, connect, and reach Docker. */
import Type, { type Static } from 'typebox';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { sleep } from '../../shared/sleep.ts';
import { fits } from '../../shared/validate.ts';
import { runChild } from '../stacks/child.ts';
import { TRIAL_MS } from './limits.ts';
import type { OwnProcess } from './own-process.ts';

const MAX_OUTPUT_CHARS = 16 * 1024;
const MAX_WORDS_CHARS = 120;
/** A process that is just being started elsewhere may hold the file open for writing a moment longer. */
const BUSY_TRIES = 20;
const BUSY_MS = 50;

/** The one line that `try` prints: what each version says, and later ones may add to. */
export const TrialAnswer = Type.Object(
  {
    /** Of this form of the answer. */
    try: Type.Literal(1),
    version: Type.String(),
    /** Whether Docker answers to it. */
    docker: Type.Boolean(),
  },
  { additionalProperties: true },
);
export type TrialAnswer = Static<typeof TrialAnswer>;

export interface TrialOptions {
  readonly next: string;
  readonly version: string;
  readonly own: Pick<OwnProcess, 'args' | 'env'>;
  /** Whether Docker answers to the agent that serves. */
  readonly dockerAnswers: () => boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly limitMs?: number;
}

/** @throws FairleadError CONFLICT with what the new executable failed at, or the signal's reason */
export async function runTrial(options: TrialOptions): Promise<void> {
  const { version, clock, signal, limitMs = TRIAL_MS } = options;
  const late = new AbortController();
  const timer = clock.setTimeout(() => {
    late.abort(failed(`it did not show within ${limitMs / 1000} s that it can connect`));
  }, limitMs);
  try {
    const answer = await askNext(options, AbortSignal.any([signal, late.signal]));
    if (answer.version !== version) throw failed(`it says that it is ${answer.version} instead of ${version}`);
    if (!answer.docker && options.dockerAnswers()) throw failed('Docker does not answer to it, but to the one before');
  } finally {
    timer.cancel();
  }
}

async function askNext({ next, own, clock }: TrialOptions, signal: AbortSignal): Promise<TrialAnswer> {
  let words = '';
  const spec = {
    program: next,
    // The flags of `run`, for which it is to stand in.
    args: ['try', ...own.args.slice(1)],
    env: own.env as Record<string, string>,
    cwd: process.cwd(),
    onLine: (line: string) => {
      words = line;
    },
    maxOutputChars: MAX_OUTPUT_CHARS,
    signal,
    clock,
  };
  for (let left = BUSY_TRIES; ; left -= 1) {
    try {
      const { code, output } = await runChild(spec);
      if (code !== 0) throw failed(`it ended with ${code ?? 'a signal'}${words === '' ? '' : `: ${said(words)}`}`);
      return readAnswer(output);
    } catch (error) {
      if (signal.aborted || isFairleadError(error)) throw error;
      const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      if (reason !== 'ETXTBSY' || left === 0) throw failed(`it cannot be started (${reason})`, error);
      await sleep(BUSY_MS, clock, signal);
    }
  }
}

/** What it said last, as a part of a sentence. */
function said(words: string): string {
  return words
    .replace(/^fairlead-agent: /, '')
    .replace(/\p{Cc}+/gu, ' ')
    .slice(0, MAX_WORDS_CHARS);
}

function readAnswer(output: string): TrialAnswer {
  let answer: unknown;
  try {
    answer = JSON.parse(output);
  } catch {
    // Judged below: what is no JSON fits no schema.
  }
  if (fits(TrialAnswer, answer)) return answer;
  throw failed('it does not say what a trial says');
}

function failed(text: string, cause?: unknown): FairleadError {
  return new FairleadError('CONFLICT', `the trial failed: ${text}`, { cause });
}
