/** The process of `fairlead`: its real streams, environment and signals around one run of the CLI. */
import { runCli } from './program.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Calls `listener` before a signal or an uncaught error ends the process; the signal then ends it as ever. */
function onKill(listener: () => void): () => void {
  const killed = (signal: NodeJS.Signals) => {
    forget();
    listener();
    process.kill(process.pid, signal);
  };
  const forget = () => {
    for (const signal of SIGNALS) process.off(signal, killed);
    process.off('exit', listener);
  };
  for (const signal of SIGNALS) process.on(signal, killed);
  process.on('exit', listener);
  return forget;
}

/** Calls `listener` instead of letting a signal end the process; the next signal ends it as ever. */
function onStop(listener: () => void): () => void {
  const stopped = () => {
    forget();
    listener();
  };
  const forget = () => {
    for (const signal of SIGNALS) process.off(signal, stopped);
  };
  for (const signal of SIGNALS) process.on(signal, stopped);
  return forget;
}

// A reader that leaves early (`| head`) is no error; without this the process would end with a stack trace.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}

const code = await runCli(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  now: () => Date.now(),
  onKill,
  onStop,
});

// Standard input may still be open, which would keep the process; what is written has to leave before it ends.
process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
