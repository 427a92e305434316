/** A ready session at the server's end of a connection whose other end keeps to no rules. */
import type { Clock } from '../../shared/clock.ts';
import { systemClock } from '../../shared/clock.ts';
import { welcome } from '../../shared/messages/control.ts';
import { COMPRESSIONS, chosenCompression, receiveHello } from '../../shared/mux/handshake.ts';
import { Session } from '../../shared/mux/session.ts';
import type { SessionLimits } from '../../shared/mux/session-limits.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { type MemoryPair, memoryPair } from './memory-pair.ts';
import { TEST_CATALOGUE, welcomeFrom } from './mux.ts';
import { RawPeer } from './raw-peer.ts';

export interface RawSession {
  readonly session: Session;
  readonly peer: RawPeer;
  readonly link: MemoryPair;
  /** Streams that the peer opened. */
  readonly streams: MuxStream[];
}

export interface RawSessionOptions {
  readonly clock?: Clock;
  readonly limits?: Partial<SessionLimits>;
  /** Whether the greeting agrees on compressed frames. */
  readonly compression?: boolean;
  onStream?(stream: MuxStream): void;
}

/** A session before any greeting. */
function rawSession(options: RawSessionOptions = {}): RawSession {
  const link = memoryPair();
  const streams: MuxStream[] = [];
  const session = new Session({
    side: 'server',
    transport: link.server,
    catalogue: TEST_CATALOGUE,
    clock: options.clock ?? systemClock,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    onStream(stream) {
      streams.push(stream);
      options.onStream?.(stream);
    },
    onControl: () => undefined,
  });
  return { session, peer: new RawPeer(link.agent), link, streams };
}

export async function readyRawSession(options: RawSessionOptions = {}): Promise<RawSession> {
  const raw = rawSession(options);
  raw.peer.greet(options.compression === true ? COMPRESSIONS : undefined);
  const greeting = await receiveHello(raw.session);
  raw.session.sendControl(welcome, { ...welcomeFrom(raw.session), ...chosenCompression(greeting.hello) });
  return raw;
}
