/** The CLI as its program runs it, in this process: what it is asked and what it says are streams. */
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { runCli } from '../../server/cli/program.ts';
import type { Exit, Launched } from './launcher.ts';
import { within } from './wait.ts';

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
  const { env = {}, input = '', timeoutMs = 30_000 } = options;
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  stdin.end(input);
  const said = Promise.all([text(stdout), text(stderr)]);
  const io = { stdin, stdout, stderr, env, now: () => Date.now(), onKill: () => () => undefined };
  const name = `fairlead ${args.join(' ')}`;
  const code = await within(timeoutMs, `the end of ${name}`, runCli(args, io));
  stdout.end();
  stderr.end();
  const [out, err] = await said;
  return {
    ...{ name, stdout: out, stderr: err, exit: { code, signal: null } },
    transcript: () => `--- ${name} ended with ${code}\n--- stdout\n${out}\n--- stderr\n${err}---`,
  };
}
