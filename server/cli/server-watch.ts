/** Notices that the server behind a WebSocket is gone when nothing else says so. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';

/** How soon a silent connection is probed. */
const KEEP_ALIVE_PROBE_MS = 15_000;
const LOOK_MS = 5_000;
/** The server pings each 15 s. Counted in looks: a process that was stopped for hours finds what came meanwhile at the next. */
const SILENT_LOOKS = 9;

const givenUp = new WeakSet<WebSocket>();

/** Cuts the connection once the server has sent nothing for 45 s, unless it is not read: what it sends then waits unseen. */
export function watchServer(webSocket: WebSocket, connection: Socket, clock: Clock): void {
  connection.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
  let bytes = connection.bytesRead;
  let silent = 0;
  const timer = clock.setInterval(() => {
    const isHeard = webSocket.isPaused || connection.bytesRead !== bytes;
    bytes = connection.bytesRead;
    silent = isHeard ? 0 : silent + 1;
    if (silent < SILENT_LOOKS) return;
    timer.cancel();
    givenUp.add(webSocket);
    webSocket.terminate();
  }, LOOK_MS);
  webSocket.once('close', () => timer.cancel());
}

/** What a connection has come to that was closed without a word: `otherwise`, unless it was cut here. */
export function lossOf(webSocket: WebSocket, otherwise: string): FairleadError {
  const seconds = (LOOK_MS * SILENT_LOOKS) / 1000;
  const silence = `the server has sent nothing for ${seconds} s: it, or the way to it, is gone`;
  return new FairleadError('STREAM_INTERRUPTED', givenUp.has(webSocket) ? silence : otherwise);
}
