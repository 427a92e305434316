/** What an agent says on the control channel of its session, by kind. */
import { toWireError } from '../../shared/errors.ts';
import { MAX_REASON_CHARS } from '../../shared/limits.ts';
import { type CertRenew, certIssued, certRenew } from '../../shared/messages/certificate.ts';
import { type Heartbeat, heartbeat, heartbeatAck } from '../../shared/messages/control.ts';
import type { ControlKind } from '../../shared/messages/kind.ts';
import { type AgentUpgradeStatus, agentUpgradeStatus } from '../../shared/messages/release.ts';
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
  [certRenew.code, (context: ControlContext, value: unknown) => void takeRenewal(context, value as CertRenew)],
  [
    agentUpgradeStatus.code,
    ({ link, deps }: ControlContext, value: unknown) => deps.upgrades?.told(link.hostId, value as AgentUpgradeStatus),
  ],
  [trustAck.code, (context: ControlContext, value: unknown) => void takeTrustAck(context, value as TrustAck)],
]);

/** Acts upon a control message; one that the server has no use for is ignored. */
export function receiveControl(context: ControlContext, kind: ControlKind, value: unknown): void {
  if (context.link.isTrial) receiveOnTrial(context, kind, value);
  else HANDLERS.get(kind.code)?.(context, value);
}

/** An agent on trial has its heartbeats answered, and nothing else. */
function receiveOnTrial({ link, deps }: ControlContext, { code }: ControlKind, value: unknown): void {
  if (code !== heartbeat.code) return;
  const { seq } = value as Heartbeat;
  link.session.sendControl(heartbeatAck, { seq, time: deps.clock.now() });
}

function takeHeartbeat({ link, probe, peer, deps }: ControlContext, beat: Heartbeat): void {
  link.beat(beat, deps.clock.now());
  link.session.sendControl(heartbeatAck, { seq: beat.seq, time: deps.clock.now(), ...renewalWish(peer, deps) });
  probe.beat(link);
}

/** What a welcome and each answer to a heartbeat say of the server's wish that the agent renew its certificate. */
export function renewalWish(peer: SessionPeer, deps: SessionDeps): { renew?: true } {
  return deps.wantsRenewal?.(peer.identity) === true ? { renew: true } : {};
}

/** Answers with a certificate or with why there is none. Never rejects. */
async function takeRenewal({ link, peer, deps }: ControlContext, { id, csr }: CertRenew): Promise<void> {
  try {
    const { serial, certificate } = await deps.renew(peer.identity, csr, peer.address);
    // Known before the agent can use it: that is what tells this session from another one of the host.
    peer.successor = serial;
    link.session.sendControl(certIssued, { id, certificate });
    deps.log.info({ hostId: link.hostId, serial }, 'a certificate was issued over its session');
  } catch (error) {
    const { code, message } = toWireError(error);
    deps.log.warn({ err: error, hostId: link.hostId, code }, 'a certificate was not renewed');
    link.session.sendControl(certIssued, { id, error: { code, message: message.slice(0, MAX_REASON_CHARS) } });
  }
}
