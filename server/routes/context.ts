/** What every family of routes is given. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { GonePeers } from '../docker-proxy/gone-peers.ts';
import type { HostTurns, SlowTurns } from '../turns.ts';
import type { AnswerBudget } from './answer-budget.ts';
import type { HostsService } from './deps/hosts.ts';
import type { ApiDeps } from './deps.ts';
import type { HostLinks } from './host-links.ts';
import type { LiveStreams } from './live-streams.ts';
import type { LostCalls } from './lost-calls.ts';
import type { Upgrades } from './upgrades.ts';
import type { WebSockets } from './web-sockets.ts';

/** What routes know of the rest of the server. A host they reach by `links` alone, so that nothing it denies goes unseen. */
export type RouteDeps = Omit<ApiDeps, 'hosts'> & { readonly hosts: Omit<HostsService, 'link' | 'linkOnReturn'> };

export interface RouteContext {
  readonly deps: RouteDeps;
  readonly links: HostLinks;
  readonly live: LiveStreams;
  readonly lostCalls: LostCalls;
  readonly upgrades: Upgrades;
  /** Exchanges with Docker that it has not answered: a host's streams are not for one caller, nor for these alone. */
  readonly dockerTurns: HostTurns;
  readonly pullTurns: SlowTurns;
  /** Of tars into containers, volumes and images, and out of them. */
  readonly tarTurns: SlowTurns;
  readonly gonePeers: GonePeers;
  readonly webSockets: WebSockets;
  /** Those of agents of Hawser. */
  readonly hawserSockets: WebSockets;
  /** Has a connection keep its place from now on; `who` names whoever uses it. */
  keepPlace(socket: IncomingMessage['socket'], who: string): void;
  /** Connections whose request may take as long as its body does. */
  readonly uploads: WeakSet<Duplex>;
  readonly answers: AnswerBudget;
}
