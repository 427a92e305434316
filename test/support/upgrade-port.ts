/** An agents' port that offers releases and serves them, for agents in processes of their own. */
import { storeIdentity } from '../../agent/identity/state-dir.ts';
import { systemClock } from '../../shared/clock.ts';
import { type Heartbeat, type Hello, heartbeat, heartbeatAck, welcome } from '../../shared/messages/control.ts';
import { CATALOGUE } from '../../shared/messages/index.ts';
import {
  type AgentUpgradeStatus,
  agentUpgrade,
  agentUpgradeStatus,
  releaseRead,
} from '../../shared/messages/release.ts';
import { receiveHello } from '../../shared/mux/handshake.ts';
import { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { wsTransport } from '../../shared/mux/ws-transport.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import { newPki } from '../unit/agent/identity/pki.ts';
import { newIdentity, startAgentPort } from '../unit/agent/link/agent-port.ts';
import type { Cleanup } from './tmp.ts';
import { type OfferedRelease, sendFile } from './upgrades.ts';

/** A session that was welcomed. */
export interface PortSession {
  readonly hello: Hello;
  readonly session: Session;
}

export interface UpgradePort {
  /** In order, trials among them. */
  readonly sessions: PortSession[];
  readonly statuses: AgentUpgradeStatus[];
  /** What each welcome wishes. */
  wished: SignedRelease | undefined;
  /** How many were not welcomed. */
  refused: number;
  /** Whether an agent that says this is welcomed; the others wait in vain. */
  accepts: (hello: Hello) => boolean;
  offer(release: SignedRelease): void;
  /** The last session that serves a host, if it stands. */
  serving(): PortSession | undefined;
}

/** @param stateDir becomes that of a host which is enrolled there */
export async function startUpgradePort(
  cleanup: Cleanup,
  stateDir: string,
  files: readonly OfferedRelease[],
): Promise<UpgradePort> {
  const pki = await newPki();
  const ended = new Set<Session>();
  const port: UpgradePort = {
    sessions: [],
    statuses: [],
    wished: undefined,
    refused: 0,
    accepts: () => true,
    offer: (release) => port.serving()?.session.sendControl(agentUpgrade, { release }),
    serving: () => port.sessions.findLast(({ hello, session }) => hello.trial !== true && !ended.has(session)),
  };
  const onWebSocket = (ws: Parameters<typeof wsTransport>[0]) => {
    const session: Session = new Session({
      ...{ side: 'server', transport: wsTransport(ws), catalogue: CATALOGUE, clock: systemClock },
      onStream: (stream) => sendFile(stream as unknown as MuxStream<typeof releaseRead>, files),
      onControl: (kind, value) => {
        if (kind.code === agentUpgradeStatus.code) port.statuses.push(value as AgentUpgradeStatus);
        if (kind.code !== heartbeat.code) return;
        const { seq, time } = value as Heartbeat;
        session.sendControl(heartbeatAck, { seq, time });
      },
    });
    void session.closed.then(() => ended.add(session));
    // One that leaves before it has said hello is none.
    receiveHello(session).then(
      ({ hello }) => greet(session, hello),
      () => undefined,
    );
  };
  const greet = (session: Session, hello: Hello) => {
    if (!port.accepts(hello)) {
      port.refused += 1;
      return;
    }
    const { wished: upgrade } = port;
    session.sendControl(welcome, {
      ...{ version: 1, hostId: 'id', hostName: 'web-1', serverVersion: '1.0.0', serverTime: Date.now() },
      ...{ heartbeatMs: 15_000, silenceMs: 45_000, limits: session.advertised },
      capabilities: [agentUpgradeStatus.name, releaseRead.name],
      ...(upgrade === undefined ? {} : { upgrade }),
    });
    port.sessions.push({ hello, session });
  };
  const { url } = await startAgentPort(cleanup, pki, { onWebSocket });
  await storeIdentity(stateDir, await newIdentity(pki, url));
  return port;
}
