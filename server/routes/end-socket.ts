/** Ends connections that are no longer HTTP's: nothing else looks after them. */
import type { Duplex } from 'node:stream';
import type { Clock } from '../../shared/clock.ts';
import { END_MS } from './limits.ts';

/** Sends `last` and the end; whoever does not close the other direction within a second is cut off. */
export function endSocket(socket: Duplex, clock: Clock, last?: string): void {
  if (last === undefined) socket.end();
  else socket.end(last);
  // Only one who reads sees the other end close.
  socket.resume();
  const timer = clock.setTimeout(() => socket.destroy(), END_MS);
  socket.once('close', () => timer.cancel());
}
