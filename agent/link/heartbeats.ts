/** Tells the server at an even pace, and whenever Docker comes or goes, how this host is doing. */
import type { Clock } from '../../shared/clock.ts';
import { type DockerState, type Heartbeat, heartbeat } from '../../shared/messages/control.ts';
import type { Session } from '../../shared/mux/session.ts';

/** What a heartbeat says. */
export interface Vitals {
  /** Load averages over 1, 5 and 15 minutes. */
  load(): number[];
  /** Streams that are being served. */
  streams(): number;
  docker(): DockerState;
  /** Calls `listener` when Docker's state changes. @returns the way to stop that */
  onDockerState(listener: () => void): () => void;
}

/** Beats until the session ends: at once, then every `everyMs`, and at once when Docker's state changes. */
export function startHeartbeats(session: Session, everyMs: number, vitals: Vitals, clock: Clock): void {
  let seq = 0;
  const beat = () => {
    const value: Heartbeat = {
      seq,
      time: clock.now(),
      load: vitals.load(),
      streams: vitals.streams(),
      docker: vitals.docker(),
    };
    seq += 1;
    session.sendControl(heartbeat, value);
  };
  const timer = clock.setInterval(beat, everyMs);
  const stopListening = vitals.onDockerState(beat);
  void session.closed.then(() => {
    timer.cancel();
    stopListening();
  });
  beat();
}
