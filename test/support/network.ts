/** Sockets in networks of others: of an Engine, or of a container that has nothing but a loopback device. */
import { spawn } from 'node:child_process';
import type { Server as ListeningSocket } from 'node:net';
import { delimiter } from 'node:path';
import { within } from './wait.ts';

/** Where nsenter may be that no shell of a user looks into. */
const PATH = [process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter);
const LISTEN_MS = 10_000;
/** Node cannot go into another network: a process that is in it opens the socket and hands it over. */
const LISTEN = `const server = require('node:net').createServer();
server.listen(0, '127.0.0.1', () => process.send('listening', server));`;

/**
 * A socket that listens at 127.0.0.1 of a network; whoever has it closes it. Needs root.
 * @param network a file that stands for it, as /proc/PID/ns/net
 */
export async function listenIn(network: string): Promise<ListeningSocket> {
  const child = spawn('nsenter', [`--net=${network}`, process.execPath, '--eval', LISTEN], {
    env: { ...process.env, PATH },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  try {
    const listening = new Promise<ListeningSocket>((resolve, reject) => {
      child.once('message', (_message, handle) => resolve(handle as ListeningSocket));
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`nobody could listen in ${network} (${code})`)));
    });
    return await within(LISTEN_MS, `a socket in ${network}`, listening);
  } finally {
    child.kill('SIGKILL');
  }
}
