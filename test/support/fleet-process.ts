/** One process of a fleet: runs the real agent once per state directory it is given, and ends with its parent. */
import https from 'node:https';
import pino from 'pino';
import { runAgent } from '../../agent/app.ts';
import { systemClock } from '../../shared/clock.ts';

const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
process.on('disconnect', () => process.exit(1));

const deps = {
  clock: systemClock,
  log: pino({ level: 'silent' }),
  random: Math.random,
  httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0 }),
};

const ends = process.argv.slice(2).map(async (stateDir) => {
  const end = await runAgent(
    { stateDir, docker: '/nonexistent/docker.sock', allow: [], renewBeforeMs: 7 * 86_400_000, deny: [] },
    deps,
    stop.signal,
  );
  if (!stop.signal.aborted) process.stderr.write(`fleet agent in ${stateDir} ended: ${end.reason}\n`);
});
await Promise.all(ends);
process.exit(0);
