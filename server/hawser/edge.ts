/** Hawser's agents that connect by themselves: from a WebSocket and its hello to a link in the registry. */
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import type { Clock, Timer } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { HAWSER_PROTOCOL, type Hello, type ServerMessage } from '../../shared/hawser/messages.ts';
import { Budget } from '../../shared/mux/budget.ts';
import type { MemoryPool } from '../../shared/mux/memory-pool.ts';
import { Once } from '../../shared/once.ts';
import type { AgentRefusal } from '../hosts/agent-refusals.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import { keepRecent } from '../keep-recent.ts';
import type { HawserTokenRow } from '../store/hawser-tokens.ts';
import { EdgeTransport } from './edge-transport.ts';
import { endSocket } from './end-socket.ts';
import { HawserLink, instanceOf } from './hawser-link.ts';
import type { HostOfToken } from './host-of-token.ts';
import { InboundGate } from './inbound-gate.ts';
import { EDGE_KINDS } from './kinds.ts';
import { limitBytes, receiveHello } from './receive-hello.ts';
import { HawserSession } from './session.ts';
import type { TokenCheck } from './token-check.ts';
import type { HawserTokens } from './tokens.ts';
import { neverSent } from './unary.ts';
import { WaitingAgents } from './waiting-agents.ts';

/** Sessions that one host may begin: an agent begins anew every second as long as it is welcomed. */
const SESSIONS = { perSecond: 1 / 12, burst: 10 };
/**
 * How often one agent may take its own place from elsewhere while it is there, and how long ago it may have been heard of for
 * that: ids may be configured, on two machines the same.
 */
const TWINS = { perSecond: 1 / 600, burst: 5 };
const TWIN_HEARD_MS = 30_000;
/** Hosts for which that, and what was done for idempotency keys, is remembered. */
const MAX_HOSTS = 20_000;
const MAX_MEMORIES = 1_000;
/** Agents that lost their place to the one that is connected. */
const MAX_DISPLACED = 16;
/** Hellos that are looked at: those that need a hash, and wait for it, are far fewer. */
const MAX_LOOKED_AT = 256;

export interface HawserEdgeOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly registry: HostRegistry;
  readonly tokens: HawserTokens;
  readonly check: TokenCheck;
  readonly hostOf: HostOfToken;
  /** What the streams of all agents may take together; unlimited if absent. */
  readonly memory?: MemoryPool;
  /** Time for an answer that is not streamed: 30 s unless given. */
  readonly requestMs?: number;
  /** Somebody was refused. Must return at once, and not throw. */
  onRefused?(refusal: AgentRefusal): void;
}

/** An agent that is connected, for those who look. Times are ms since 1970. */
export interface EdgeConnection {
  readonly hostId: string;
  readonly hostName: string;
  readonly tokenId: string;
  readonly agentId: string;
  readonly agentName: string;
  readonly agentVersion: string;
  readonly address: string;
  readonly connectedAt: number;
}

/** An agent that connects. */
export interface NewAgent {
  readonly ws: WebSocket;
  /** What the WebSocket reads from. */
  readonly socket: Duplex;
  readonly address: string;
  /** Is told whose agent it is, once that is known. */
  readonly onWelcome: (hostId: string) => void;
}

interface Connection extends EdgeConnection {
  readonly link: HawserLink;
  readonly displaced: readonly string[];
  expiry: Timer | undefined;
}

export class HawserEdge {
  readonly #options: HawserEdgeOptions;
  /** By host. */
  readonly #connections = new Map<string, Connection>();
  readonly #waiting = new WaitingAgents();
  readonly #lookedAt = new Set<WebSocket>();
  readonly #starts = new Map<string, Budget>();
  readonly #twins = new Map<string, Budget>();
  readonly #memories = new Map<string, Once>();
  readonly #stopListening: () => void;
  #isClosed = false;

  constructor(options: HawserEdgeOptions) {
    this.#options = options;
    this.#stopListening = options.tokens.onEnd((tokenId, endsAt) => this.#tokenEnds(tokenId, endsAt));
  }

  /** Those that are connected. */
  connections(): EdgeConnection[] {
    return [...this.#connections.values()].map(({ link: _, displaced: __, expiry: ___, ...connection }) => connection);
  }

  /** Takes an agent in, or tells it why not. Never rejects. */
  async accept({ ws, socket, address, onWelcome }: NewAgent): Promise<void> {
    const { log } = this.#options;
    ws.on('error', (error) => log.debug({ err: error, address }, 'a WebSocket of a Hawser agent broke'));
    const unguard = limitBytes(ws, socket);
    let hostId: string | undefined;
    try {
      if (this.#isClosed) throw new FairleadError('SHUTDOWN', 'the server is stopping');
      const { token, ...hello } = await this.#hear(ws, address);
      if (this.#lookedAt.size >= MAX_LOOKED_AT)
        throw new FairleadError('OVERLOADED', 'too many agents connect at once');
      this.#lookedAt.add(ws);
      const row = await this.#options.check.check(token, address);
      hostId = row.hostId;
      unguard();
      onWelcome(await this.#admit(ws, hello, row, address));
    } catch (error) {
      unguard();
      this.#refuse(ws, error, address, hostId);
    } finally {
      this.#lookedAt.delete(ws);
    }
  }

  /** Ends the session of a host. */
  disconnect({ hostId }: { hostId: string }, code: ErrorCode, reason: string): void {
    this.#connections.get(hostId)?.link.close(code, reason);
  }

  /** Ends all sessions. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#stopListening();
    for (const { link } of this.#connections.values()) link.close('SHUTDOWN', 'the server is stopping');
    this.#waiting.close();
    for (const ws of this.#lookedAt) ws.terminate();
  }

  /** @throws FairleadError as receiveHello does; CANCELLED, too, if others need its place */
  async #hear(ws: WebSocket, address: string): Promise<Hello> {
    const leave = this.#waiting.enter(ws, address);
    try {
      return await receiveHello(ws, this.#options.clock);
    } finally {
      leave();
    }
  }

  /** @returns the id of its host. @throws FairleadError RATE_LIMITED, REPLACED, TOKEN_INVALID, STORE_FULL, … */
  async #admit(ws: WebSocket, hello: Omit<Hello, 'token'>, row: HawserTokenRow, address: string): Promise<string> {
    const { clock, check, hostOf } = this.#options;
    const host = await hostOf.find(row, hello, address);
    const instance = instanceOf(hello);
    this.#requirePlace(host.id, instance);
    if (!this.#take(this.#starts, host.id, SESSIONS)) {
      const retryAfterSeconds = Math.ceil(1 / SESSIONS.perSecond);
      throw new FairleadError('RATE_LIMITED', 'this host begins sessions too often: do two agents share its token?', {
        retryAfterSeconds,
      });
    }
    // The last that is waited for: from here on, whoever revokes the token finds the session.
    const current = await check.current(row.id);
    if (current === undefined)
      throw new FairleadError('TOKEN_INVALID', 'the Hawser token is unknown, expired or revoked');
    if (ws.readyState !== ws.OPEN || this.#isClosed) throw new FairleadError('CANCELLED', 'the agent went away');
    this.#requirePlace(host.id, instance);
    this.#requireNoTwin(host.id, instance, address);
    this.#attach(ws, hello, { host, token: current, address, connectedAt: clock.now() });
    return host.id;
  }

  /**
   * The newest agent wins, once: the one that had to go comes back every second, and would win again. It gets its place back
   * when the newer one has left. @throws FairleadError REPLACED
   */
  #requirePlace(hostId: string, instance: string): void {
    const present = this.#connections.get(hostId);
    if (present === undefined || !present.displaced.includes(instance)) return;
    const { agentName, address } = present;
    throw new FairleadError(
      'REPLACED',
      `another agent with this token (${agentName}, from ${address}) took the place of this one: give each a token of its own`,
    );
  }

  /**
   * A reconnect from elsewhere is one, once and again; time after time, while the one before is well, they are two agents that
   * nothing tells apart. The one that is there stays then. @throws FairleadError REPLACED
   */
  #requireNoTwin(hostId: string, instance: string, address: string): void {
    const present = this.#connections.get(hostId);
    if (present?.link.instanceId !== instance || present.address === address) return;
    if (this.#options.clock.now() - present.link.describe().lastSeenAt > TWIN_HEARD_MS) return;
    if (this.#take(this.#twins, hostId, TWINS)) return;
    throw new FairleadError(
      'REPLACED',
      `an agent with the same id and name is connected from ${present.address}: give each a token and an AGENT_ID of its own`,
    );
  }

  /** @returns false if the host has used its budget of a sort up */
  #take(budgets: Map<string, Budget>, hostId: string, { perSecond, burst }: typeof SESSIONS): boolean {
    const now = this.#options.clock.monotonic();
    const budget = budgets.get(hostId) ?? new Budget(perSecond, burst, now);
    keepRecent(budgets, hostId, budget, MAX_HOSTS);
    return budget.take(now);
  }

  /** Welcomes the agent and registers its link, in one turn. */
  #attach(
    ws: WebSocket,
    hello: Omit<Hello, 'token'>,
    { host, token, address, connectedAt }: { host: Host; token: HawserTokenRow; address: string; connectedAt: number },
  ): void {
    const { clock, log, registry, memory, requestMs } = this.#options;
    const gate = new InboundGate({ clock, memory, pause: () => ws.pause(), resume: () => ws.resume() });
    const session = new HawserSession({ ws, clock, log, gate, onMetrics: (message) => link.measured(message) });
    const once = this.#memories.get(host.id) ?? new Once({ clock, undone: neverSent });
    keepRecent(this.#memories, host.id, once, MAX_MEMORIES);
    const link: HawserLink = new HawserLink({
      ...{ hostId: host.id, transport: new EdgeTransport(session), kinds: EDGE_KINDS, hello, once, log, connectedAt },
      requestMs,
    });
    const before = this.#connections.get(host.id);
    const displaced = before === undefined ? [] : displacedBy(before, link.instanceId);
    const connection: Connection = {
      ...{ hostId: host.id, hostName: host.name, tokenId: token.id, address, connectedAt, link, displaced },
      ...{ agentId: hello.agentId, agentName: hello.agentName, agentVersion: hello.version },
      expiry: undefined,
    };
    this.#connections.set(host.id, connection);
    void link.closed.then(() => {
      connection.expiry?.cancel();
      if (this.#connections.get(host.id) === connection) this.#connections.delete(host.id);
    });
    session.send({
      type: 'welcome',
      environmentId: environmentOf(host.id),
      message: `connected to Fairlead as ${host.name}`,
      ...{ serverId: 'fairlead', version: HAWSER_PROTOCOL },
    } as ServerMessage);
    registry.attach(link);
    this.#expireAt(connection, token.expiresAt);
    log.info({ hostId: host.id, host: host.name, address, agentVersion: hello.version }, 'host online');
    link
      .learn()
      .catch((error: unknown) => log.error({ err: error, hostId: host.id }, 'a Hawser host was not looked at'));
  }

  #tokenEnds(tokenId: string, endsAt: number | undefined): void {
    for (const connection of this.#connections.values()) {
      if (connection.tokenId === tokenId) this.#expireAt(connection, endsAt ?? 0);
    }
  }

  /** Timers are no longer than some weeks: whoever is awake too early looks again. */
  #expireAt(connection: Connection, endsAt: number | undefined): void {
    const { clock } = this.#options;
    connection.expiry?.cancel();
    if (endsAt === undefined) return;
    const leftMs = endsAt - clock.now();
    if (leftMs <= 0)
      connection.link.close('TOKEN_INVALID', 'the Hawser token of this agent was revoked, or has expired');
    else connection.expiry = clock.setTimeout(() => this.#expireAt(connection, endsAt), leftMs);
  }

  #refuse(ws: WebSocket, thrown: unknown, address: string, hostId: string | undefined): void {
    const { log, clock, onRefused } = this.#options;
    const isExpected = isFairleadError(thrown);
    if (!isExpected) log.error({ err: thrown, address }, 'a Hawser agent could not be taken in');
    const error = isExpected ? thrown : new FairleadError('INTERNAL', 'the server failed; its log says why');
    // Anybody can connect and leave: that is no refusal, and not worth a line each time.
    const hasLeft = error.code === 'CANCELLED' || error.code === 'SHUTDOWN';
    log[hasLeft ? 'debug' : 'warn']({ address, code: error.code, hostId }, 'a Hawser agent was refused');
    if (!hasLeft) onRefused?.({ error, address, hostId });
    endSocket(ws, clock, error);
  }
}

interface Host {
  readonly id: string;
  readonly name: string;
}

function displacedBy(before: Connection, instance: string): readonly string[] {
  const loser = before.link.instanceId;
  const all = loser === instance ? before.displaced : [...before.displaced, loser];
  return all.filter((one) => one !== instance).slice(-MAX_DISPLACED);
}

/** The whole number that an agent is told: of one host always the same. */
export function environmentOf(hostId: string): number {
  return Number.parseInt(hostId.replaceAll('-', '').slice(0, 7), 16) + 1;
}
