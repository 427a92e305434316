/** The CLI as its program runs it, in this process: what it is asked and what it says are streams. */
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { runCli } from '../../server/cli/program.ts';
import type { Exit, Launched } from './launcher.ts';
import { PATIENT_MS, within } from './wait.ts';

export interface CliRunOptions {
  /** All that it sees of an environment. */
  readonly env?: Record<string, string>;
  /** What it reads from stdin, which then ends. */
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** One run of the CLI that has ended. */
export type CliRun = Pick<Launched, 'name' | 'stdout' | 'stderr' | 'transcript'> & { readonly exit: Exit };

/**
 * Runs the command line `args` to its end. Starting the program for it takes most of a second of a core; `run` does so,
 * for what only a process shows.
 */
export async function runCliHere(args: readonly string[], options: CliRunOptions = {}): Promise<CliRun> {
  const { env = {}, input = '', timeoutMs = PATIENT_MS } = options;
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  stdin.end(input);
  const said = { stdout: '', stderr: '' };
  stdout.setEncoding('utf8').on('data', (text: string) => {
    said.stdout += text;
  });
  stderr.setEncoding('utf8').on('data', (text: string) => {
    said.stderr += text;
  });
  const forget = () => () => undefined;
  const io = { stdin, stdout, stderr, env, now: () => Date.now(), onKill: forget, onStop: forget };
  const name = `fairlead ${args.join(' ')}`;
  const transcript = () => `--- ${name}\n--- stdout\n${said.stdout}\n--- stderr\n${said.stderr}---`;
  const code = await within(timeoutMs, `the end of ${name}`, runCli(args, io), transcript);
  await Promise.all([stdout, stderr].map((stream) => finished(stream.end())));
  return { ...said, name, exit: { code, signal: null }, transcript: () => `${transcript()} ended with ${code}` };
}
