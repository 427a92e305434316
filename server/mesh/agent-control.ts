/** What an agent says on the control channel of its session, by kind. */
import { type Heartbeat, heartbeat, heartbeatAck } from '../../shared/messages/control.ts';
import type { ControlKind } from '../../shared/messages/kind.ts';
import { type TrustAck, trustAck } from '../../shared/messages/trust.ts';
import type { SessionDeps, SessionPeer } from './agent-session.ts';
import type { NativeLink } from './native-link.ts';
import type { RoundTripProbe } from './round-trip-probe.ts';
import { takeTrustAck } from './trust-news.ts';

/** The session that a message came on. */
export interface ControlContext {
  readonly link: NativeLink;
  readonly probe: RoundTripProbe;
  readonly peer: SessionPeer;
  readonly deps: SessionDeps;
}

/** Must not throw; what takes time goes on by itself. The value fits the kind's schema. */
type ControlHandler = (context: ControlContext, value: unknown) => void;

const HANDLERS: ReadonlyMap<number, ControlHandler> = new Map([
  [heartbeat.code, (context: ControlContext, value: unknown) => takeHeartbeat(context, value as Heartbeat)],
  [trustAck.code, (context: ControlContext, value: unknown) => void takeTrustAck(context, value as TrustAck)],
]);

/** Acts upon a control message; one that the server has no use for is ignored. */
export function receiveControl(context: ControlContext, kind: ControlKind, value: unknown): void {
  HANDLERS.get(kind.code)?.(context, value);
}

function takeHeartbeat({ link, probe, deps }: ControlContext, beat: Heartbeat): void {
  link.beat(beat);
  link.session.sendControl(heartbeatAck, { seq: beat.seq, time: deps.clock.now() });
  probe.beat(link);
}
