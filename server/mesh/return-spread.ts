/** Over how long agents spread their return when the server stops, so that they do not come back all at once. */
import { RECONNECT_MIN_MS } from '../../shared/limits.ts';

const MIN_MS = 3 * RECONNECT_MIN_MS;
/** With the restart itself and the delay that agents add, 10,000 are back within 30 s. */
const MAX_MS = 20_000;
/** What a handshake and the greeting take of the event loop. */
const HANDSHAKE_MS = 2;

/** The spread for so many agents, in ms: at least as long as the handshakes of all of them take. */
export function returnSpreadMs(agents: number): number {
  return Math.min(Math.max(agents * HANDSHAKE_MS, MIN_MS), MAX_MS);
}
