/** Takes the PROXY header off the front of a connection and leaves the rest for whom it is meant. */
import type { Socket } from 'node:net';
import type { Clock } from '../../shared/clock.ts';
import { PROXY_HEADER_MS } from './limits.ts';
import { readProxyHeader } from './proxy-header.ts';
import type { Source } from './source.ts';

/**
 * Calls `done` once with where the connection comes from (undefined: from its own peer), or `failed` once with why there
 * is no telling. A connection that closes before is reported to neither.
 */
export function takeProxyHeader(
  socket: Socket,
  clock: Pick<Clock, 'setTimeout'>,
  done: (source: Source | undefined) => void,
  failed: (reason: string) => void,
): void {
  let received: Buffer = Buffer.alloc(0);
  const timer = clock.setTimeout(() => {
    stop();
    failed(`no PROXY header within ${PROXY_HEADER_MS} ms`);
  }, PROXY_HEADER_MS);
  const stop = () => {
    timer.cancel();
    socket.off('readable', read);
    socket.off('close', stop);
  };
  const read = () => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    received = Buffer.concat([received, chunk]);
    const header = readProxyHeader(received);
    if (header.state === 'incomplete') return;
    stop();
    if (header.state === 'malformed') return failed(header.reason);
    if (header.bytes < received.length) socket.unshift(received.subarray(header.bytes));
    done(header.source);
  };
  socket.on('readable', read);
  socket.once('close', stop);
}
