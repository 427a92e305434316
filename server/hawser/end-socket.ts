/** The end of an agent's WebSocket, with the reason. */
import type { WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import type { ErrorCode, FairleadError } from '../../shared/errors.ts';
import type { ServerMessage } from '../../shared/hawser/messages.ts';
import { CLOSE_MS, UNSENT_NOTICE_BYTES } from './limits.ts';

/** Close codes as dockhand uses them: 1008 for what the agent did, 1000 for what was decided here. */
function closeCode(code: ErrorCode): number {
  if (code === 'SHUTDOWN') return 1001;
  if (code === 'FRAME_TOO_LARGE') return 1009;
  return code === 'REPLACED' ? 1000 : 1008;
}

/** Says why in both of the fields that are read, and closes; an agent that does not read is cut off. */
export function endSocket(ws: WebSocket, clock: Clock, error: FairleadError): void {
  if (ws.readyState === ws.OPEN) {
    const { code, message, retryAfterSeconds } = error;
    const retry = retryAfterSeconds === undefined ? {} : { retryAfter: retryAfterSeconds };
    if (ws.bufferedAmount < UNSENT_NOTICE_BYTES) {
      ws.send(JSON.stringify({ type: 'error', error: message, message, code, ...retry } satisfies ServerMessage));
    }
    if (ws.isPaused) ws.resume();
    ws.close(closeCode(code), code);
  }
  const timer = clock.setTimeout(() => ws.terminate(), CLOSE_MS);
  ws.once('close', () => timer.cancel());
}
