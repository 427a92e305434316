/** Tells the server at an even pace, and whenever Docker comes or goes, how this host is doing. */
import type { Clock } from '../../shared/clock.ts';
import { linkFigures } from '../../shared/link-figures.ts';
import { type DockerState, type Heartbeat, heartbeat } from '../../shared/messages/control.ts';
import type { LinkFigures } from '../../shared/messages/link.ts';
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
  const news = newsOfLink(session);
  const beat = () => {
    const link = news();
    const value: Heartbeat = {
      seq,
      time: clock.now(),
      load: vitals.load(),
      streams: vitals.streams(),
      docker: vitals.docker(),
      ...(link === undefined ? {} : { link }),
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

/** The session's figures, each time that they say something new: most agents are idle, and have nothing to tell. */
function newsOfLink(session: Session): () => LinkFigures | undefined {
  let told = '';
  return () => {
    const figures = linkFigures(session.stats);
    const { roundTripMs, deliveryBytesPerSecond, creditStarvedMs, socketBlockedMs } = figures;
    const isKnown = roundTripMs !== undefined || deliveryBytesPerSecond !== undefined;
    if (!isKnown && creditStarvedMs === 0 && socketBlockedMs === 0) return undefined;
    // Heartbeats are in flight themselves, for hours if nothing else is sent.
    const text = JSON.stringify({ ...figures, inFlightBytes: 0 });
    if (text === told) return undefined;
    told = text;
    return figures;
  };
}
