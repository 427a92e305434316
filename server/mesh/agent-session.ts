/** One agent's session: greeting, then a link in the registry that lives until silence, expiry or goaway ends it. */
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, fromWireError, toWireError } from '../../shared/errors.ts';
import {
  HEARTBEAT_MS,
  INITIAL_WINDOW_BYTES,
  MAX_FRAME_BYTES,
  MAX_OPEN_STREAMS,
  SILENCE_MS,
} from '../../shared/limits.ts';
import { type Hello, type Welcome, welcome } from '../../shared/messages/control.ts';
import { hostLeave } from '../../shared/messages/host.ts';
import { CATALOGUE } from '../../shared/messages/index.ts';
import { type AgentUpgradeStatus, agentUpgradeStatus, releaseRead } from '../../shared/messages/release.ts';
import { chosenCompression, receiveHello } from '../../shared/mux/handshake.ts';
import type { MemoryPool } from '../../shared/mux/memory-pool.ts';
import { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { wsTransport } from '../../shared/mux/ws-transport.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import { receiveControl, renewalWish } from './agent-control.ts';
import { NativeLink } from './native-link.ts';
import type { PeerIdentity } from './peer-identity.ts';
import { RoundTripProbe } from './round-trip-probe.ts';
import type { TrialSessions } from './trial-sessions.ts';
import { sendTrust, type TrustSource } from './trust-news.ts';

export interface SessionDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly registry: HostRegistry;
  readonly serverVersion: string;
  /** What the streams of all agents may take together; unlimited if absent. */
  readonly memory?: MemoryPool;
  /** What agents are told of the roots to trust; absent: nothing. */
  readonly trust?: TrustSource;
  isActive(serial: string): boolean;
  refusal(serial: string, address: string): Promise<FairleadError>;
  /** A certificate for the key in `csr` (PEM), that counts from its first use. @throws FairleadError */
  renew(identity: PeerIdentity, csr: string, address: string): Promise<{ serial: string; certificate: string }>;
  /** Whether an agent is to renew its certificate although that is good for longer. */
  wantsRenewal?(identity: PeerIdentity): boolean;
  /** The host's name. @throws FairleadError HOST_NOT_FOUND */
  hostName(hostId: string): Promise<string>;
  /** Agents that are to take the place of another one, which serves their host still; absent: there are none. */
  readonly adoption?: AdoptionDoor;
  /** Which release each host is to run; absent: nobody cares. */
  readonly upgrades?: UpgradeDoor;
  /** The host's owner takes it out of the mesh. Resolves once its certificates are revoked; its session still runs. */
  leave(hostId: string, reason: string, address: string): Promise<void>;
}

/** Where the links of agents go that do not serve their host yet. */
export interface AdoptionDoor {
  isUnderWay(hostId: string): Promise<boolean>;
  /** @param serials those of the certificates that the session runs by, or will once it has used them */
  arrived(link: HostLink, serials: () => readonly string[]): void;
  /** Another link of the host serves it. */
  settled(hostId: string): void;
}

/** Where it is known which release each host is to run. */
export interface UpgradeDoor {
  /** The release to offer to a host whose agent has said hello. */
  greet(hostId: string, hello: Hello): SignedRelease | undefined;
  /** An agent says how far it is. Must return at once and not throw. */
  told(hostId: string, status: AgentUpgradeStatus): void;
  /** Answers a stream to its end. Must not reject. */
  serveRead(hostId: string, stream: MuxStream<typeof releaseRead>): Promise<void>;
  /** Sessions that only show that they can connect. */
  readonly trials: Pick<TrialSessions, 'requireExpected' | 'arrived'>;
}

export interface SessionPeer {
  /** Changes when the host has used a certificate that this session asked for. */
  identity: PeerIdentity;
  readonly address: string;
  /** The serial of the certificate that this session asked for. */
  successor?: string;
}

/**
 * Greets the agent at the other end of `ws` and attaches its link to the registry.
 * @throws FairleadError when the greeting fails or the certificate was revoked meanwhile
 */
export async function startSession(ws: WebSocket, peer: SessionPeer, deps: SessionDeps): Promise<NativeLink> {
  const { clock } = deps;
  const probe = new RoundTripProbe(deps, peer.identity.hostId);
  let link: NativeLink | undefined;
  const session: Session = new Session({
    side: 'server',
    transport: wsTransport(ws),
    catalogue: CATALOGUE,
    clock,
    ...(deps.memory === undefined ? {} : { memory: deps.memory }),
    onStream: (stream) => serveAgentStream(session, stream, { peer, link }, deps),
    onControl: (kind, value) => {
      if (link !== undefined) receiveControl({ link, probe, peer, deps }, kind, value);
    },
  });
  try {
    const { hello, version } = await receiveHello(session);
    const hostName = await deps.hostName(peer.identity.hostId);
    const isNewcomer = (await deps.adoption?.isUnderWay(peer.identity.hostId)) ?? false;
    // Asked again: the certificate may have been revoked since the handshake.
    if (!deps.isActive(peer.identity.serial)) {
      throw await deps.refusal(peer.identity.serial, peer.address);
    }
    const greeted = { peer, hostName, version, isNewcomer };
    link = hello.trial === true ? tryOut(session, hello, greeted, deps) : attach(session, hello, greeted, deps);
    return link;
  } catch (error) {
    // Says why before it closes; does nothing if the session has ended already.
    session.destroy(fromWireError(toWireError(error)));
    throw error;
  }
}

/** Of the certificate that the session runs by, and of the one that it asked for, which it runs by once that is used. */
function serialsOf({ identity, successor }: SessionPeer): string[] {
  return successor === undefined ? [identity.serial] : [identity.serial, successor];
}

interface Greeted {
  readonly peer: SessionPeer;
  readonly hostName: string;
  readonly version: number;
  /** Whether another agent serves the host still. */
  readonly isNewcomer: boolean;
}

/** Welcomes the agent and registers its link, in one turn: no call can come before the welcome. */
function attach(session: Session, hello: Hello, greeted: Greeted, deps: SessionDeps): NativeLink {
  const { clock, registry, log } = deps;
  const { peer, hostName, isNewcomer } = greeted;
  const { hostId } = peer.identity;
  const link = new NativeLink({ hostId, session, hello, connectedAt: clock.now() });
  sendWelcome(session, hello, greeted, deps, {
    ...renewalWish(peer, deps),
    ...(isNewcomer ? {} : upgradeWish(hostId, hello, deps)),
  });
  session.startLiveness(SILENCE_MS);
  if (isNewcomer) deps.adoption?.arrived(link, () => serialsOf(peer));
  else {
    deps.adoption?.settled(hostId);
    registry.attach(link);
  }
  sendTrust(link, deps.trust);
  const what = isNewcomer ? 'an agent is tried that is to take its host over' : 'host online';
  log.info({ hostId, host: hostName, address: peer.address, agentVersion: hello.agentVersion }, what);
  return link;
}

/** Welcomes an agent that only shows that it can connect: no link of its host's. @throws FairleadError CONFLICT */
function tryOut(session: Session, hello: Hello, greeted: Greeted, deps: SessionDeps): NativeLink {
  const { hostId } = greeted.peer.identity;
  const { trials } = deps.upgrades ?? {};
  if (trials === undefined) throw new FairleadError('UNSUPPORTED', 'this server tries no agents');
  trials.requireExpected(hostId);
  const link = new NativeLink({ hostId, session, hello, connectedAt: deps.clock.now() });
  sendWelcome(session, hello, greeted, deps, {});
  session.startLiveness(SILENCE_MS);
  trials.arrived(link);
  return link;
}

function sendWelcome(
  session: Session,
  hello: Hello,
  { peer, hostName, version }: Greeted,
  { clock, serverVersion }: SessionDeps,
  more: Pick<Welcome, 'renew' | 'capabilities' | 'upgrade'>,
): void {
  session.sendControl(welcome, {
    version,
    hostId: peer.identity.hostId,
    hostName,
    serverVersion,
    serverTime: clock.now(),
    heartbeatMs: HEARTBEAT_MS,
    silenceMs: SILENCE_MS,
    limits: { frameBytes: MAX_FRAME_BYTES, windowBytes: INITIAL_WINDOW_BYTES, streams: MAX_OPEN_STREAMS },
    ...chosenCompression(hello),
    ...more,
  });
}

/** What the agent may say of releases and read of them, and the one that it is to run. */
function upgradeWish(
  hostId: string,
  hello: Hello,
  { upgrades }: SessionDeps,
): Pick<Welcome, 'capabilities' | 'upgrade'> {
  if (upgrades === undefined) return {};
  const upgrade = upgrades.greet(hostId, hello);
  return { capabilities: [agentUpgradeStatus.name, releaseRead.name], ...(upgrade === undefined ? {} : { upgrade }) };
}

/** Sessions whose host is leaving: an agent that asks and resets must not have the store do it many times over. */
const leaving = new WeakSet<Session>();

/** Streams that agents open. */
function serveAgentStream(session: Session, stream: MuxStream, { peer, link }: Opener, deps: SessionDeps): void {
  const { hostId } = peer.identity;
  const { code, name } = stream.kind;
  if (link === undefined || link.isTrial) {
    stream.reset(new FairleadError('UNSUPPORTED', `${name} is not for an agent that is on trial`));
  } else if (code === hostLeave.code) {
    letLeave(session, stream as unknown as MuxStream<typeof hostLeave>, peer, deps);
  } else if (code === releaseRead.code && deps.upgrades !== undefined) {
    void deps.upgrades.serveRead(hostId, stream as unknown as MuxStream<typeof releaseRead>);
  } else {
    stream.reset(new FairleadError('UNSUPPORTED', `this server does not serve ${name}`));
  }
}

/** Who has opened a stream. */
interface Opener {
  readonly peer: SessionPeer;
  /** Undefined before the welcome, when there are no streams. */
  readonly link: NativeLink | undefined;
}

function letLeave(session: Session, stream: MuxStream<typeof hostLeave>, peer: SessionPeer, deps: SessionDeps): void {
  if (leaving.has(session)) {
    stream.reset(new FairleadError('OVERLOADED', 'this host is leaving already'));
    return;
  }
  leaving.add(session);
  serveLeave(session, stream, peer, deps).catch((error: unknown) => {
    leaving.delete(session);
    deps.log.error({ err: error, hostId: peer.identity.hostId }, 'a host could not leave');
    stream.reset(fromWireError(toWireError(error)));
  });
}

async function serveLeave(
  session: Session,
  stream: MuxStream<typeof hostLeave>,
  peer: SessionPeer,
  deps: SessionDeps,
): Promise<void> {
  await deps.leave(peer.identity.hostId, stream.params.reason, peer.address);
  stream.sendReply({});
  stream.finish();
  await session.goaway({ code: 'CERT_REVOKED', reason: 'the host left the mesh' });
}
