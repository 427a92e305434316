/** The process of fairlead-agent: argv, environment, signals, logs and exit codes. Runs when it is imported. */
import https from 'node:https';
import { resolve } from 'node:path';
import { Command, CommanderError } from 'commander';
import { type Logger, pino } from 'pino';
import type { Static, TObject } from 'typebox';
import { systemClock } from '../shared/clock.ts';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import { flagsOf, type LogLevel, readFlags } from '../shared/flags.ts';
import { COMMIT, VERSION } from '../shared/version.ts';
import { type AppDeps, hostFacts, runAgent, unenroll } from './app.ts';
import {
  DEFAULT_STATE_DIR,
  EnrollFlags,
  enrollConfig,
  RunFlags,
  runConfig,
  StatusFlags,
  UnenrollFlags,
  UsageError,
} from './config.ts';
import { hawserConfig, TOKEN_VARIABLE } from './hawser/config.ts';
import { enroll } from './identity/enroll.ts';
import { StateLock } from './identity/state-lock.ts';
import { formatStatus, readStatus } from './identity/status.ts';
import { EXIT, type ExitCode } from './link/outcome.ts';

/** A stop is over by then, whatever hangs. */
const STOP_LIMIT_MS = 9_000;
const HOLD_MS = 2 ** 30;
const EXIT_GRACE_MS = 500;

/** What commander found on the command line. */
type Given = Readonly<Record<string, unknown>>;
type Action<S extends TObject> = (flags: Static<S>, given: Given) => Promise<ExitCode>;

process.exitCode = await main();
// By now nothing is left to do; what still holds the process shall not hold it for ever.
setTimeout(() => process.exit(), EXIT_GRACE_MS).unref();

async function main(): Promise<ExitCode> {
  // The clock's timers do not keep the process alive, and between two attempts to connect nothing else would.
  const hold = setInterval(() => undefined, HOLD_MS);
  try {
    return await parse(process.argv);
  } finally {
    clearInterval(hold);
  }
}

async function parse(argv: string[]): Promise<ExitCode> {
  const chosen: { action?: () => Promise<ExitCode> } = {};
  const program = new Command('fairlead-agent')
    .description('Connects a Docker host to its Fairlead server.')
    .version(COMMIT === undefined ? VERSION : `${VERSION} (${COMMIT})`)
    .exitOverride();
  const command = <S extends TObject>(name: string, description: string, schema: S, action: Action<S>) => {
    const it = program.command(name).description(description).allowExcessArguments(false);
    for (const { syntax, description: text, repeatable } of flagsOf(schema)) {
      if (repeatable) it.option(syntax, text, (value, before: string[] = []) => [...before, value]);
      else it.option(syntax, text);
    }
    it.action((given: Given) => {
      chosen.action = () => action(flagsFrom(schema, given), given);
    });
  };
  command('enroll', 'join the mesh: make a key, get a certificate for it', EnrollFlags, doEnroll);
  command('run', 'hold the session with the server', RunFlags, doRun);
  command('status', 'say who this host is and whether it is connected', StatusFlags, doStatus);
  command(
    'unenroll',
    'leave the mesh: the server revokes this host, its identity is deleted',
    UnenrollFlags,
    doUnenroll,
  );
  try {
    await program.parseAsync(argv);
    return (await chosen.action?.()) ?? EXIT.stopped;
  } catch (error) {
    return explain(error);
  }
}

/** The flags of a command, from the command line and the environment. @throws UsageError */
function flagsFrom<S extends TObject>(schema: S, given: Given): Static<S> {
  try {
    return readFlags(schema, given, process.env);
  } catch (error) {
    throw isFairleadError(error, 'VALIDATION') ? new UsageError(error.message, { cause: error }) : error;
  }
}

async function doEnroll(flags: EnrollFlags, given: Given): Promise<ExitCode> {
  const options = await enrollConfig(flags, given, readStdin);
  const deps = await appDeps(flags.logLevel);
  const record = await enroll(options, {
    clock: deps.clock,
    facts: hostFacts(),
    httpsAgent: deps.httpsAgent,
    signal: stopSignal(deps.log),
    claim: (dir) => {
      const lock = StateLock.claim(dir, 'enrolling', { log: deps.log, now: deps.clock.now });
      return () => lock.release();
    },
  });
  const stateDir = flags.stateDir === DEFAULT_STATE_DIR ? '' : ` --state-dir ${options.stateDir}`;
  process.stdout.write(
    `enrolled as ${record.name} (${record.hostId}) at ${record.server}\n` +
      `the identity is in ${options.stateDir}; start the agent with: fairlead-agent run${stateDir}\n`,
  );
  return EXIT.stopped;
}

async function doRun(flags: RunFlags): Promise<ExitCode> {
  const config = { ...runConfig(flags), hawser: await hawserConfig(flags, process.env[TOKEN_VARIABLE]) };
  const deps = await appDeps(flags.logLevel);
  const end = await runAgent(config, deps, stopSignal(deps.log));
  if (end.exitCode === EXIT.stopped) deps.log.info('stopped');
  else deps.log.fatal({ exitCode: end.exitCode }, `${end.reason}; not trying again`);
  return end.exitCode;
}

async function doStatus(flags: StatusFlags): Promise<ExitCode> {
  const status = await readStatus(resolve(flags.stateDir), Date.now());
  process.stdout.write(flags.json ? `${JSON.stringify(status, undefined, 2)}\n` : formatStatus(status));
  return EXIT.stopped;
}

async function doUnenroll(flags: UnenrollFlags): Promise<ExitCode> {
  const config = { stateDir: resolve(flags.stateDir), local: flags.local };
  await unenroll(config, await appDeps(flags.logLevel));
  const rest = config.local ? '; the server still knows this host: remove it there too' : '';
  process.stdout.write(`this host has left the mesh, its identity in ${config.stateDir} is deleted${rest}\n`);
  return EXIT.stopped;
}

async function appDeps(logLevel: LogLevel): Promise<AppDeps> {
  return {
    clock: systemClock,
    log: await openLog(logLevel),
    random: Math.random,
    path: process.env['PATH'] ?? '',
    // HTTPS_PROXY and NO_PROXY count. No connection and no TLS session is ever used twice: each proves itself anew.
    httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0, proxyEnv: process.env }),
  };
}

/** JSON lines on stderr, readable ones on a terminal. Synchronous: the last line before an exit is the one that counts. */
async function openLog(level: LogLevel): Promise<Logger> {
  // No thread makes them readable: in an executable there is no file for it to begin with.
  const stream = process.stderr.isTTY
    ? (await import('pino-pretty')).default({ destination: 2, sync: true })
    : pino.destination({ dest: 2, sync: true });
  return pino({ name: 'fairlead-agent', level }, stream);
}

/** Fires at the first SIGTERM or SIGINT, or when the launcher's IPC channel closes; the second signal ends the process. */
function stopSignal(log: Logger): AbortSignal {
  const controller = new AbortController();
  const stop = (why: string) => {
    if (controller.signal.aborted) {
      log.warn({ why }, 'stopping at once');
      process.exit(EXIT.failed);
    }
    log.info({ why }, 'stopping');
    setTimeout(() => {
      log.warn('stopping took too long');
      process.exit(EXIT.stopped);
    }, STOP_LIMIT_MS).unref();
    controller.abort(new FairleadError('SHUTDOWN', 'the agent is stopping'));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  if (process.connected) {
    process.once('disconnect', () => stop('the launcher is gone'));
    // Listening must not keep the process alive once its work is done.
    process.channel?.unref();
  }
  return controller.signal;
}

async function readStdin(maxBytes: number): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk;
    if (text.length > maxBytes) throw new UsageError('what stands on stdin is no token: it is too long');
  }
  return text;
}

/** Says what went wrong, in one line where it was expected. */
function explain(error: unknown): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.stopped : EXIT.usage;
  if (error instanceof UsageError) {
    process.stderr.write(`fairlead-agent: ${error.message}\n`);
    return EXIT.usage;
  }
  const text = error instanceof FairleadError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`fairlead-agent: ${text}\n`);
  return EXIT.failed;
}
