/** The process of fairlead-agent: argv, environment, signals, logs and exit codes. Runs when it is imported. */
import https from 'node:https';
import { Command, CommanderError } from 'commander';
import { type Logger, pino } from 'pino';
import { systemClock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';
import { VERSION } from '../shared/version.ts';
import { type AppDeps, hostFacts, runAgent, unenroll } from './app.ts';
import {
  addCommonFlags,
  addEnrollFlags,
  addRunFlags,
  enrollConfig,
  type RawFlags,
  runConfig,
  stateDir,
  UsageError,
  unenrollConfig,
} from './config.ts';
import { enroll } from './identity/enroll.ts';
import { StateLock } from './identity/state-lock.ts';
import { formatStatus, readStatus } from './identity/status.ts';
import { EXIT, type ExitCode } from './link/outcome.ts';

/** A stop is over by then, whatever hangs. */
const STOP_LIMIT_MS = 9_000;
const HOLD_MS = 2 ** 30;
const EXIT_GRACE_MS = 500;

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
  let exitCode: ExitCode = EXIT.stopped;
  const program = new Command('fairlead-agent')
    .description('Connects a Docker host to its Fairlead server.')
    .version(VERSION)
    .exitOverride();
  const command = (name: string, description: string, action: (flags: RawFlags, it: Command) => Promise<ExitCode>) => {
    const it = program.command(name).description(description).allowExcessArguments(false);
    addCommonFlags(it);
    return it.action(async (flags: RawFlags) => {
      exitCode = await action(flags, it);
    });
  };
  addEnrollFlags(command('enroll', 'join the mesh: make a key, get a certificate for it', doEnroll));
  addRunFlags(command('run', 'hold the session with the server', doRun));
  command('status', 'say who this host is and whether it is connected', doStatus).option('--json', 'as JSON');
  command('unenroll', 'leave the mesh: the server revokes this host, its identity is deleted', doUnenroll).option(
    '--local',
    'delete the identity here only, without telling the server',
  );
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    return explain(error);
  }
}

async function doEnroll(flags: RawFlags, command: Command): Promise<ExitCode> {
  const isGiven = (name: string) => command.getOptionValueSource(name) === 'cli';
  const options = await enrollConfig(flags, isGiven, readStdin);
  const deps = appDeps(flags);
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
  process.stdout.write(
    `enrolled as ${record.name} (${record.hostId}) at ${record.server}\n` +
      `the identity is in ${options.stateDir}; start the agent with: fairlead-agent run${dirFlag(flags)}\n`,
  );
  return EXIT.stopped;
}

async function doRun(flags: RawFlags): Promise<ExitCode> {
  const config = runConfig(flags);
  const deps = appDeps(flags);
  const end = await runAgent(config, deps, stopSignal(deps.log));
  if (end.exitCode === EXIT.stopped) deps.log.info('stopped');
  else deps.log.fatal({ exitCode: end.exitCode }, `${end.reason}; not trying again`);
  return end.exitCode;
}

async function doStatus(flags: RawFlags): Promise<ExitCode> {
  const status = await readStatus(stateDir(flags), Date.now());
  process.stdout.write(flags['json'] === true ? `${JSON.stringify(status, undefined, 2)}\n` : formatStatus(status));
  return EXIT.stopped;
}

async function doUnenroll(flags: RawFlags): Promise<ExitCode> {
  const config = unenrollConfig(flags);
  await unenroll(config, appDeps(flags));
  const rest = config.local ? '; the server still knows this host: remove it there too' : '';
  process.stdout.write(`this host has left the mesh, its identity in ${config.stateDir} is deleted${rest}\n`);
  return EXIT.stopped;
}

function appDeps(flags: RawFlags): AppDeps {
  return {
    clock: systemClock,
    log: openLog(String(flags['logLevel'] ?? 'info')),
    random: Math.random,
    // HTTPS_PROXY and NO_PROXY count. No connection and no TLS session is ever used twice: each proves itself anew.
    httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0, proxyEnv: process.env }),
  };
}

/** JSON lines on stderr, readable ones on a terminal. Synchronous: the last line before an exit is the one that counts. */
function openLog(level: string): Logger {
  const stream = process.stderr.isTTY
    ? pino.transport({ target: 'pino-pretty', options: { destination: 2 } })
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

function dirFlag(flags: RawFlags): string {
  return flags['stateDir'] === '/etc/fairlead-agent' ? '' : ` --state-dir ${stateDir(flags)}`;
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
