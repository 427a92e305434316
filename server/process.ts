/** The process of fairlead-server: argv, environment, signals, logs and exit codes. Runs when it is imported. */
import { Command, CommanderError } from 'commander';
import { type Logger, pino } from 'pino';
import { systemClock } from '../shared/clock.ts';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import { flagsOf, type LogLevel, readFlags } from '../shared/flags.ts';
import { VERSION } from '../shared/version.ts';
import { type App, startApp } from './app.ts';
import { changeCaSecret, renewIntermediate } from './ca.ts';
import { readConfig, type ServerConfig } from './config.ts';
import { ServerFlags } from './server-flags.ts';

const EXIT = { done: 0, failed: 1, usage: 2 } as const;
/** A stop is over by then, whatever hangs. */
const STOP_LIMIT_MS = 9_000;

/** A wrong flag: the process exits with 2. */
class UsageError extends Error {}

await main();

async function main(): Promise<void> {
  try {
    const given = parse(process.argv);
    if (given !== undefined) await run(await configOf(given));
  } catch (error) {
    process.exitCode = explain(error);
  }
}

/** What stands on the command line. @returns nothing when --help or --version was all that was asked for */
function parse(argv: string[]): Record<string, unknown> | undefined {
  const program = new Command('fairlead-server')
    .description('The server of a Fairlead mesh: its API, its certificate authority and the listener for agents.')
    .version(VERSION)
    .allowExcessArguments(false)
    .exitOverride();
  for (const { syntax, description, repeatable } of flagsOf(ServerFlags)) {
    if (repeatable) program.option(syntax, description, (value, before: string[] = []) => [...before, value]);
    else program.option(syntax, description);
  }
  try {
    return program.parse(argv).opts();
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return undefined;
    throw error;
  }
}

/** @throws FairleadError VALIDATION, as bad usage */
async function configOf(given: Record<string, unknown>): Promise<ServerConfig> {
  try {
    return await readConfig(readFlags(ServerFlags, given, process.env));
  } catch (error) {
    if (isFairleadError(error, 'VALIDATION')) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

async function run(config: ServerConfig): Promise<void> {
  const log = openLog(config.logLevel);
  if (config.changeCaSecret !== undefined) return await reseal(config, log);
  if (config.intermediate !== undefined) {
    process.stdout.write(`${await awake(renewIntermediate({ config, clock: systemClock, log }))}\n`);
    return;
  }
  const stopped = stopSignal(log);
  const app = await awake(startApp({ config, clock: systemClock, log, random: Math.random, pid: process.pid }));
  // Otherwise SIGHUP keeps its meaning: the terminal is gone.
  if (config.apiTls.mode === 'files') process.on('SIGHUP', () => void app.reload());
  await stopped;
  await stop(app, log);
}

async function reseal(config: ServerConfig, log: Logger): Promise<void> {
  await awake(changeCaSecret({ config, clock: systemClock, log }));
  const isMasterKey = config.changeCaSecret === 'master-key';
  const way = isMasterKey ? 'without --ca-passphrase-file' : 'with the new file as --ca-passphrase-file';
  const what = isMasterKey ? 'master.key' : 'the new passphrase';
  process.stdout.write(`the keys of the CA rest under ${what} now; start the server ${way}\n`);
}

async function stop(app: App, log: Logger): Promise<void> {
  setTimeout(() => {
    log.warn('stopping took too long');
    process.exit(EXIT.failed);
  }, STOP_LIMIT_MS).unref();
  await awake(app.close());
  log.info('stopped');
  process.exit(EXIT.done);
}

/** Waits for `work`. While it waits for a timer alone, the process would end, and as if all were well. */
async function awake<T>(work: Promise<T>): Promise<T> {
  const hold = setInterval(() => undefined, STOP_LIMIT_MS);
  try {
    return await work;
  } finally {
    clearInterval(hold);
  }
}

/** JSON lines on stderr, readable ones on a terminal. */
function openLog(level: LogLevel): Logger {
  const stream = process.stderr.isTTY
    ? pino.transport({ target: 'pino-pretty', options: { destination: 2 } })
    : pino.destination({ dest: 2, sync: true });
  return pino({ name: 'fairlead-server', level }, stream);
}

/** Resolves at the first SIGTERM or SIGINT, or when the launcher's IPC channel closes; the second signal ends the process. */
function stopSignal(log: Logger): Promise<void> {
  let stopping = false;
  return new Promise((resolve) => {
    const onStop = (why: string) => {
      if (stopping) process.exit(EXIT.failed);
      stopping = true;
      log.info({ why }, 'stopping');
      resolve();
    };
    process.on('SIGTERM', onStop);
    process.on('SIGINT', onStop);
    if (process.connected) {
      process.once('disconnect', () => onStop('the launcher is gone'));
      // Listening alone must not keep a process alive that could not start.
      process.channel?.unref();
    }
  });
}

/** Says what went wrong, in one line where it was expected. @returns the exit code */
function explain(error: unknown): number {
  // Commander has said it already.
  if (error instanceof CommanderError) return EXIT.usage;
  const expected = error instanceof FairleadError || error instanceof UsageError;
  const text = expected ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`fairlead-server: ${text}\n`);
  return error instanceof UsageError ? EXIT.usage : EXIT.failed;
}
