/**
 * An agent whose executable is a script: `node upgrade-child.ts VERSION EXECUTABLE run|try|watch …`, as the script calls it.
 * What it does with itself is what one executable does: the script takes the place of the process, under the same pid.
 */
import https from 'node:https';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { durableDisk, type UpgradeDisk } from '../../agent/upgrade/files.ts';
import type { OwnProcess } from '../../agent/upgrade/own-process.ts';
import { systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';

const [version = '', executable = '', ...args] = process.argv.slice(2);
// Before anything reads it, as the build of an executable does.
Object.assign(globalThis, { FAIRLEAD_VERSION: version });
const { runAgent } = await import('../../agent/app.ts');
const { releaseKeys } = await import('../../agent/config.ts');
const { tryAgent } = await import('../../agent/try-agent.ts');
const { launch, watchAgent } = await import('../../agent/upgrade/watch-command.ts');

const hold = setInterval(() => undefined, 60_000);
const own: OwnProcess = {
  ...{ executable, version, pid: process.pid, argv0: executable, args, env: process.env, isLaunched: false },
  execve: (file, argv, env) => {
    if (process.execve === undefined) throw new Error('there is no execve');
    return process.execve(file, argv, { ...env });
  },
};
const string = { type: 'string' } as const;
const { values } = parseArgs({
  args: args.slice(1),
  options: {
    ...{ 'state-dir': string, 'release-key': string, 'settle-ms': string, executable: string, sequence: string },
    ...{ pid: string, start: string, launch: { type: 'boolean' } },
  },
  allowPositionals: true,
});
const stateDir = values['state-dir'] ?? '';
const config = { stateDir, docker: '/nowhere.sock', allow: [], deny: [], renewBeforeMs: 1_000 };
const deps = {
  clock: systemClock,
  log: pino({ level: 'debug' }, pino.destination({ dest: 2, sync: true })),
  random: Math.random,
  httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0 }),
};

switch (args[0]) {
  case 'run':
    process.exitCode = await run();
    break;
  case 'try':
    process.stdout.write(`${JSON.stringify(await tryAgent(config, deps, stopSignal()))}\n`);
    break;
  case 'watch':
    if (values.launch === true) await launch({ own });
    else await watchOver();
}
clearInterval(hold);
process.exit();

async function run(): Promise<number> {
  const keys = await releaseKeys({ releaseKey: [values['release-key'] ?? ''] });
  const settleMs = Number(process.env['TEST_SETTLE_MS']);
  const stop = stopSignal();
  const end = await runAgent(config, { ...deps, upgrades: { own, keys, settleMs, disk: disk() } }, stop);
  if (end.replace !== undefined && !stop.aborted) await end.replace();
  return end.exitCode;
}

async function watchOver(): Promise<void> {
  const agent = { pid: Number(values.pid), ...(values.start === undefined ? {} : { start: values.start }) };
  const { executable = '' } = values;
  const rest = args.slice(args.indexOf('--') + 1);
  const command = { stateDir, executable, agent, sequence: Number(values.sequence), args: rest };
  await watchAgent(
    { ...command, settleMs: Number(values['settle-ms']) },
    {
      own,
      clock: systemClock,
      openLog: (fd) =>
        fd === undefined ? pino({ level: 'silent' }) : pino(pino.destination({ dest: fd, sync: true })),
      stopSignal,
      kill: (pid) => void process.kill(pid, 'SIGKILL'),
    },
  );
}

function stopSignal(): AbortSignal {
  const controller = new AbortController();
  process.once('SIGTERM', () => controller.abort(new FairleadError('SHUTDOWN', 'stopped')));
  return controller.signal;
}

/** Kills this process at one change of its disk: `TEST_KILL=VERSION:STEP:before|after`. */
function disk(): UpgradeDisk {
  const [of, at, when] = (process.env['TEST_KILL'] ?? '').split(':');
  if (of !== version) return durableDisk;
  let step = 0;
  const change = async (work: () => Promise<void>) => {
    step += 1;
    if (step === Number(at) && when === 'before') process.kill(process.pid, 'SIGKILL');
    await work();
    if (step === Number(at)) process.kill(process.pid, 'SIGKILL');
  };
  return {
    write: (...given) => change(() => durableDisk.write(...given)),
    remove: (...given) => change(() => durableDisk.remove(...given)),
    link: (...given) => change(() => durableDisk.link(...given)),
    rename: (...given) => change(() => durableDisk.rename(...given)),
    free: durableDisk.free,
  };
}
