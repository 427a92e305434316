/** A program that is run to its end, by its arguments and never by a shell, and that leaves nothing of itself behind. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Clock } from '../../shared/clock.ts';

/** How long it may take to end by itself once it is told to. */
const END_MS = 3_000;
/** How long its output may stay open once it has ended: by then all that it started is gone. */
const OUTPUT_MS = 1_000;
/** What is longer is left out as a whole: of a part nobody could tell whether it ends within a secret. */
const MAX_LINE_CHARS = 64 * 1024;
const LEFT_OUT = `(a line of more than ${MAX_LINE_CHARS / 1024} KiB was left out)`;

export interface ChildSpec {
  readonly program: string;
  readonly args: readonly string[];
  /** All that it sees of an environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** What it reads from its standard input, which then ends. */
  readonly input?: string;
  /** Takes each line of its output; of standard output only without `maxOutputChars`. */
  readonly onLine: (line: string) => void;
  /** Keeps its standard output, as much as this; what has more is ended. */
  readonly maxOutputChars?: number;
  /** Ends it, and whatever it has started. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

export interface ChildEnd {
  /** Null: a signal has ended it. */
  readonly code: number | null;
  readonly output: string;
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/** @throws what keeps it from being started, or the reason of the signal once nothing of it is left */
export async function runChild(spec: ChildSpec): Promise<ChildEnd> {
  const { program, args, env, cwd, input = '', onLine, maxOutputChars, signal, clock } = spec;
  signal.throwIfAborted();
  // A group of its own, with all that it starts: they end together.
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = endOf(child, clock);
  // Where no file descriptors are left it has no streams, and says so only later.
  if (!hasStreams(child)) throw await ended.then(() => new Error('it was given no streams'));
  ended.catch(() => undefined); // it is waited for below
  const stop = stopper(child, clock);
  let output = '';
  const keep = (text: string) => {
    output += text;
    if (output.length > (maxOutputChars ?? 0)) stop();
  };
  const lines = [readLines(child.stderr, onLine)];
  if (maxOutputChars === undefined) lines.push(readLines(child.stdout, onLine));
  else child.stdout.setEncoding('utf8').on('data', keep);
  signal.addEventListener('abort', stop);
  try {
    // What it does not read is its own affair; how it ends tells.
    child.stdin.on('error', () => undefined).end(input);
    const code = await ended;
    for (const flush of lines) flush();
    signal.throwIfAborted();
    return { code, output };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function hasStreams(child: Partial<Record<'stdin' | 'stdout' | 'stderr', unknown>>): boolean {
  return [child.stdin, child.stdout, child.stderr].every((stream) => stream !== undefined && stream !== null);
}

/** What tells a child to end, and its group, and does not wait for ever. Idempotent. */
function stopper(child: Child, clock: Clock): () => void {
  let isTold = false;
  return () => {
    if (isTold) return;
    isTold = true;
    killGroup(child, 'SIGTERM');
    const timer = clock.setTimeout(() => killGroup(child, 'SIGKILL'), END_MS);
    child.once('exit', () => timer.cancel());
  };
}

async function endOf(child: Child, clock: Clock): Promise<number | null> {
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on('error', reject);
  child.once('close', resolve);
  child.once('exit', () => {
    // What it has left running has nobody to report to.
    killGroup(child, 'SIGKILL');
    const timer = clock.setTimeout(() => {
      child.stdout.destroy();
      child.stderr.destroy();
    }, OUTPUT_MS);
    child.once('close', () => timer.cancel());
  });
  return await promise;
}

function killGroup({ pid }: Child, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // ESRCH: nothing is left of the group. EPERM: what is left changed its user, as only programs of the host's owner do.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}

/** Cuts output into lines, also where a program only goes back to the beginning of one. @returns what emits the last one */
function readLines(source: Readable, onLine: (line: string) => void): () => void {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  const take = (text: string, isLast: boolean) => {
    const pieces = (rest + text).split(/[\r\n]+/);
    // One more than fits: so it is known that there was more.
    rest = isLast ? '' : (pieces.pop() ?? '').slice(0, MAX_LINE_CHARS + 1);
    for (const piece of pieces) {
      const line = piece.length > MAX_LINE_CHARS ? LEFT_OUT : piece.trimEnd();
      if (line !== '') onLine(line);
    }
  };
  source.on('data', (chunk: Buffer) => take(decoder.write(chunk), false));
  return () => take(decoder.end(), true);
}
