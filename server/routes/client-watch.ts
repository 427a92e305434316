/** Notices that a WebSocket's client is gone when nothing else says so. */
import type { WebSocket } from 'ws';
import type { Clock, Timer } from '../../shared/clock.ts';

const PING_MS = 15_000;
/** While the client's input waits, only a failing write shows that it is gone, so it is asked often. */
const PING_PAUSED_MS = 200;
/** How long a client that was sent nothing may leave pings unanswered. */
const SILENT_MS = 45_000;
/** The same for one that was sent output: it may have stopped reading on purpose. */
const SILENT_READER_MS = 10 * 60_000;

export interface ClientWatch {
  /** Says whether the client's input waits: its pongs wait with it. */
  setPaused(isPaused: boolean): void;
  /** Says that output was sent. */
  sent(): void;
  stop(): void;
}

/** Pings the client; calls `gone` once and cuts the connection when it no longer answers. */
export function watchClient(webSocket: WebSocket, clock: Clock, gone: () => void): ClientWatch {
  let isPaused = false;
  let heardAt = clock.monotonic();
  let isSentOutput = false;
  let timer: Timer;
  const heard = () => {
    heardAt = clock.monotonic();
    isSentOutput = false;
  };
  const arm = () => {
    timer = clock.setTimeout(tick, isPaused ? PING_PAUSED_MS : PING_MS);
  };
  const tick = () => {
    if (isPaused) heard();
    if (clock.monotonic() - heardAt > (isSentOutput ? SILENT_READER_MS : SILENT_MS)) {
      gone();
      webSocket.terminate();
      return;
    }
    if (webSocket.readyState === webSocket.OPEN) webSocket.ping();
    arm();
  };
  webSocket.on('pong', heard);
  webSocket.on('message', heard);
  arm();
  return {
    setPaused(value) {
      if (value === isPaused) return;
      isPaused = value;
      timer.cancel();
      arm();
    },
    sent() {
      isSentOutput = true;
    },
    stop: () => timer.cancel(),
  };
}
