/** The log of the agent's process. */
import { type Logger, pino } from 'pino';
import type { LogLevel } from '../shared/flags.ts';

export const NAME = 'fairlead-agent';

/** JSON lines on stderr, readable ones on a terminal. Synchronous: the last line before an exit is the one that counts. */
export async function openLog(level: LogLevel): Promise<Logger> {
  if (!process.stderr.isTTY) return pinoTo(level, 2);
  // No thread makes them readable: in an executable there is no file for it to begin with.
  return pino({ name: NAME, level }, (await import('pino-pretty')).default({ destination: 2, sync: true }));
}

/** JSON lines to a file that is open already. */
export function pinoTo(level: LogLevel, fd: number): Logger {
  return pino({ name: NAME, level }, pino.destination({ dest: fd, sync: true }));
}
