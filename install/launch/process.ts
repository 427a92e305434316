/** The process of `npm start`: its arguments, its signals and its exit code around one launch. */
import { describeError } from '../../server/cli/errors.ts';
import { askServer, type LaunchIo, launch } from './launch.ts';
import { LaunchError, launchOptions } from './options.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

process.exitCode = await main();

async function main(): Promise<number> {
  const stop = new AbortController();
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (!stop.signal.aborted) process.stdout.write('\nStopping …\n');
      stop.abort();
    });
  }
  const io: LaunchIo = { out: process.stdout, env: process.env, stop: stop.signal };
  try {
    const options = launchOptions(process.argv.slice(2), process.env);
    if (options.isQuestion) return await askServer(options, io);
    await launch(options, io);
    process.stdout.write('Stopped.\n');
    return 0;
  } catch (error) {
    process.stderr.write(`npm start: ${describeError(error)}\n`);
    return error instanceof LaunchError ? error.exitCode : 1;
  }
}
