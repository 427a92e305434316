/** The process of fairlead-agent: argv, environment, signals, logs and exit codes. Runs when it is imported. */
import { realpathSync } from 'node:fs';
import https from 'node:https';
import { resolve } from 'node:path';
import { isSea } from 'node:sea';
import { pipeline } from 'node:stream/promises';
import { CommanderError } from 'commander';
import { type Logger, pino } from 'pino';
import { systemClock } from '../shared/clock.ts';
import { formatChecks, verdict, worstOf } from '../shared/doctor/check.ts';
import { FairleadError } from '../shared/errors.ts';
import type { LogLevel } from '../shared/flags.ts';
import { readLicenses } from '../shared/licenses.ts';
import { jsonLine, printable, printableLines } from '../shared/printable.ts';
import { embeddedSequence } from '../shared/releases/embedded.ts';
import { VERSION } from '../shared/version.ts';
import { hostFacts } from './about-host.ts';
import { type AppDeps, runAgent, unenroll } from './app.ts';
import { CommandLine, type Given } from './command-line.ts';
import {
  DEFAULT_STATE_DIR,
  DoctorFlags,
  doctorConfig,
  EnrollFlags,
  enrollConfig,
  LicensesFlags,
  RunFlags,
  releaseKeys,
  runConfig,
  StatusFlags,
  SupportBundleFlags,
  UnenrollFlags,
  UsageError,
  WatchFlags,
} from './config.ts';
import { type DoctorOptions, examineHost } from './doctor/doctor.ts';
import { hostSettings, proxyNote, SETTINGS_FILE } from './doctor/host-settings.ts';
import type { ServerCheckDeps } from './doctor/server-checks.ts';
import { writeSupportBundle } from './doctor/support-bundle.ts';
import { hawserConfig, TOKEN_VARIABLE } from './hawser/config.ts';
import { enroll } from './identity/enroll.ts';
import { StateLock } from './identity/state-lock.ts';
import { formatStatus, readStatus } from './identity/status.ts';
import { EXIT, type ExitCode } from './link/outcome.ts';
import { openLog, pinoTo } from './log.ts';
import { tryAgent } from './try-agent.ts';
import type { OwnProcess } from './upgrade/own-process.ts';
import { launch, watchAgent } from './upgrade/watch-command.ts';

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
    return await command(process.argv);
  } finally {
    clearInterval(hold);
  }
}

async function command(argv: string[]): Promise<ExitCode> {
  const line = new CommandLine(process.env);
  line.command('enroll', 'join the mesh: make a key, get a certificate for it', EnrollFlags, doEnroll);
  line.command('run', 'hold the session with the server', RunFlags, doRun);
  line.command('status', 'say who this host is and whether it is connected', StatusFlags, doStatus);
  line.command('doctor', 'look for what is wrong on this host and on the way to the server', DoctorFlags, doDoctor);
  line.command(
    'support-bundle',
    'write how this host is into one file, without secrets',
    SupportBundleFlags,
    doSupportBundle,
  );
  line.command(
    'unenroll',
    'leave the mesh: the server revokes this host, its identity is deleted',
    UnenrollFlags,
    doUnenroll,
  );
  line.command('licenses', 'print the licences of all that this program is made of', LicensesFlags, doLicenses);
  line.command('try', 'show that this version can take the place of the one that serves', RunFlags, doTry, {
    hidden: true,
  });
  line.command('watch', 'watch over the version that follows', WatchFlags, doWatch, { hidden: true, takesRest: true });
  try {
    return await line.run(argv);
  } catch (error) {
    return explain(error);
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
    `enrolled as ${printable(record.name)} (${printable(record.hostId)}) at ${record.server}\n` +
      `the identity is in ${options.stateDir}; start the agent with: fairlead-agent run${stateDir}\n`,
  );
  return EXIT.stopped;
}

async function doRun(flags: RunFlags): Promise<ExitCode> {
  const config = { ...runConfig(flags), hawser: await hawserConfig(flags, process.env[TOKEN_VARIABLE]) };
  const deps = await appDeps(flags.logLevel);
  const stop = stopSignal(deps.log);
  const proxy = proxyNote(process.env);
  const upgrades = { own: ownProcess(), keys: await releaseKeys(flags) };
  const end = await runAgent(config, { ...deps, ...(proxy && { proxy }), upgrades }, stop);
  if (end.replace !== undefined && !stop.aborted) await end.replace();
  if (end.exitCode === EXIT.stopped) deps.log.info('stopped');
  else deps.log.fatal({ exitCode: end.exitCode }, `${end.reason}; not trying again`);
  return end.exitCode;
}

/** For the version that serves: it asks this one, which is newer, and reads its one line. */
async function doTry(flags: RunFlags): Promise<ExitCode> {
  const config = { ...runConfig(flags), hawser: await hawserConfig(flags, process.env[TOKEN_VARIABLE]) };
  await releaseKeys(flags);
  const deps = await appDeps(flags.logLevel);
  const answer = await tryAgent(config, deps, stopSignal(deps.log));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
  return EXIT.stopped;
}

async function doWatch(flags: WatchFlags, _given: Given, args: readonly string[]): Promise<ExitCode> {
  const own = ownProcess();
  const { pid, start, executable, sequence, settleMs } = flags;
  if (flags.launch) {
    await launch({ own });
    return EXIT.stopped;
  }
  const agent = { pid, ...(start === undefined ? {} : { start }) };
  const end = await watchAgent(
    { stateDir: resolve(flags.stateDir), executable, sequence, agent, settleMs, args },
    {
      own,
      clock: systemClock,
      openLog: (fd) => (fd === undefined ? pino({ level: 'silent' }) : pinoTo(flags.logLevel, fd)),
      stopSignal,
      kill: (victim) => void process.kill(victim, 'SIGKILL'),
    },
  );
  return end === 'given-up' ? EXIT.failed : EXIT.stopped;
}

/** What this process is, for whoever may replace it. */
function ownProcess(): OwnProcess {
  return {
    executable: isSea() ? realpathSync(process.execPath) : undefined,
    version: VERSION,
    sequence: embeddedSequence(),
    pid: process.pid,
    argv0: process.argv0,
    args: process.argv.slice(2),
    env: process.env,
    isLaunched: process.connected,
    execve: (file, argv, env) => {
      if (process.execve === undefined) throw new Error('this system cannot replace a process');
      return process.execve(file, argv, { ...env });
    },
  };
}

async function doStatus(flags: StatusFlags): Promise<ExitCode> {
  const status = await readStatus(resolve(flags.stateDir), Date.now());
  process.stdout.write(flags.json ? jsonLine(status, 2) : formatStatus(status));
  return EXIT.stopped;
}

async function doDoctor(flags: DoctorFlags, given: Given): Promise<ExitCode> {
  const { options, deps } = await doctorParts(flags, given);
  const checks = await examineHost(options, deps);
  const worst = worstOf(checks);
  process.stdout.write(
    flags.json ? `${JSON.stringify({ worst, checks }, undefined, 2)}\n` : `${formatChecks(checks)}\n${verdict(checks)}`,
  );
  return worst === 'fail' ? EXIT.failed : EXIT.stopped;
}

async function doSupportBundle(flags: SupportBundleFlags, given: Given): Promise<ExitCode> {
  const out = resolve(flags.out);
  const { options, deps } = await doctorParts(flags, given);
  const names = await writeSupportBundle(out, options, deps);
  process.stdout.write(`wrote ${out}: ${names.join(', ')}; look through it before you pass it on\n`);
  return EXIT.stopped;
}

/** What the doctor looks at, and by which way: the one that the agent of this host goes. @throws UsageError */
async function doctorParts(
  flags: Pick<DoctorFlags, 'stateDir' | 'docker' | 'logLevel'>,
  given: Given,
): Promise<{ options: DoctorOptions; deps: ServerCheckDeps }> {
  const config = doctorConfig(flags);
  const isGiven = given['docker'] !== undefined || Boolean(process.env['FAIRLEAD_DOCKER']);
  const { docker = config.docker, proxyEnv } = hostSettings({
    stateDir: config.stateDir,
    ...(config.stateDir === DEFAULT_STATE_DIR ? { file: SETTINGS_FILE } : {}),
    ...(isGiven ? { docker: config.docker } : {}),
    env: process.env,
  });
  const { httpsAgent, clock } = await appDeps(flags.logLevel, proxyEnv);
  const proxy = proxyEnv['https_proxy'] || proxyEnv['HTTPS_PROXY'] || undefined;
  return {
    options: { ...config, docker },
    deps: { httpsAgent, proxy: proxy && (URL.parse(proxy)?.host ?? 'that HTTPS_PROXY names'), now: clock.now },
  };
}

async function doUnenroll(flags: UnenrollFlags): Promise<ExitCode> {
  const config = { stateDir: resolve(flags.stateDir), local: flags.local };
  await unenroll(config, await appDeps(flags.logLevel));
  const rest = config.local ? '; the server still knows this host: remove it there too' : '';
  process.stdout.write(`this host has left the mesh, its identity in ${config.stateDir} is deleted${rest}\n`);
  return EXIT.stopped;
}

async function doLicenses(): Promise<ExitCode> {
  const written = pipeline([await readLicenses()], process.stdout, { end: false });
  await written.catch((error: NodeJS.ErrnoException) => {
    // Whoever reads has seen enough, as `head` has.
    if (error.code !== 'EPIPE') throw error;
  });
  return EXIT.stopped;
}

async function appDeps(logLevel: LogLevel, proxyEnv: NodeJS.ProcessEnv = process.env): Promise<AppDeps> {
  return {
    clock: systemClock,
    log: await openLog(logLevel),
    random: Math.random,
    path: process.env['PATH'] ?? '',
    // HTTPS_PROXY and NO_PROXY count. No connection and no TLS session is ever used twice: each proves itself anew.
    httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0, proxyEnv }),
  };
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
  process.stderr.write(`fairlead-agent: ${printableLines(text ?? '')}\n`);
  return EXIT.failed;
}
