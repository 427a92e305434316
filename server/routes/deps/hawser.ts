/** What the routes need of Hawser: its tokens, its agents that connect by themselves, and those that are dialled. */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { AdoptionView } from '../adoption.ts';
import type { Actor } from './caller.ts';
import type { Maybe, Page, Paged, Time } from './rows.ts';

export interface HawserTokenRecord {
  readonly id: string;
  readonly name: string;
  readonly prefix: string;
  readonly hostId?: Maybe<string>;
  readonly hostName?: Maybe<string>;
  readonly createdBy: string;
  readonly createdAt: Time;
  readonly expiresAt?: Maybe<number>;
  readonly lastUsedAt?: Maybe<Time>;
  readonly lastUsedAddress?: Maybe<string>;
  readonly revokedAt?: Maybe<Time>;
  readonly replacedBy?: Maybe<string>;
}

/** A token that was just made, this once with its secret. */
export interface MadeHawserToken extends HawserTokenRecord {
  readonly token: string;
}

export interface HawserTokensService {
  /** @throws FairleadError VALIDATION, HOST_NOT_FOUND, CONFLICT, OVERLOADED */
  create(
    token: { name: string; host?: string | undefined; expiresAt?: Maybe<Time> },
    actor: Actor,
  ): Promise<MadeHawserToken>;
  /** @throws FairleadError NOT_FOUND, CONFLICT, OVERLOADED */
  rotate(
    id: string,
    overlapSeconds: number,
    actor: Actor,
  ): Promise<MadeHawserToken & { readonly replacedEndsAt: Time }>;
  list(page: Page): Promise<Paged<HawserTokenRecord>>;
  /** @throws FairleadError NOT_FOUND */
  revoke(id: string, actor: Actor): Promise<unknown>;
}

export interface EdgeConnectionRecord {
  readonly hostId: string;
  readonly hostName: string;
  readonly tokenId: string;
  readonly agentId: string;
  readonly agentName: string;
  readonly agentVersion: string;
  readonly address: string;
  readonly connectedAt: Time;
}

export interface HawserEdgeService {
  connections(): EdgeConnectionRecord[];
  /** Never rejects. @param onWelcome is told whose agent it is, once that is known */
  accept(agent: {
    readonly ws: WebSocket;
    /** What the WebSocket reads from. */
    readonly socket: Duplex;
    readonly address: string;
    readonly onWelcome: (hostId: string) => void;
  }): Promise<void>;
  close(): void;
}

export interface AdoptionService {
  /** @throws FairleadError HOST_NOT_FOUND, CONFLICT, VALIDATION */
  offer(
    host: string,
    options: { ttlSeconds?: number },
    actor: Actor,
  ): Promise<{ id: string; token: string; expiresAt: Time; hostId: string; hostName: string }>;
  /** @throws FairleadError HOST_NOT_FOUND */
  look(host: string): Promise<{
    hostId: string;
    hostName: string;
    state: AdoptionView['state'];
    tokenId?: string | undefined;
    expiresAt?: Time | undefined;
    why?: string | undefined;
  }>;
  /** @throws FairleadError HOST_NOT_FOUND, NOT_FOUND, CONFLICT */
  cancel(host: string, actor: Actor): Promise<unknown>;
}

/** How a host is dialled, and how that goes. */
export interface HawserHostRecord {
  readonly hostId: string;
  readonly hostName: string;
  readonly url: string;
  readonly ca?: Maybe<string>;
  readonly pin?: Maybe<string>;
  /** Without user and password. */
  readonly proxy?: Maybe<string>;
  readonly insecureHttp: boolean;
  readonly isOnline: boolean;
  readonly checkedAt?: Maybe<Time>;
  readonly error?: Maybe<string>;
  readonly changedBy: string;
  readonly changedAt: Time;
}

interface HawserHostRequest {
  readonly ca?: string | undefined;
  readonly pin?: string | undefined;
  readonly proxy?: string | undefined;
  readonly insecureHttp?: boolean | undefined;
  readonly url: string;
  readonly token: string;
}

export interface HawserHostsService {
  /** @throws FairleadError VALIDATION, CONFLICT */
  add(
    host: HawserHostRequest & { readonly name: string; readonly tags?: readonly string[] | undefined },
    actor: Actor,
  ): Promise<HawserHostRecord>;
  list(page: Page): Promise<Paged<HawserHostRecord>>;
  /** @throws FairleadError HOST_NOT_FOUND, NOT_FOUND */
  get(ref: string): Promise<HawserHostRecord>;
  /** @throws FairleadError HOST_NOT_FOUND, NOT_FOUND, VALIDATION, CONFLICT */
  change(
    ref: string,
    change: { readonly [K in keyof HawserHostRequest]?: HawserHostRequest[K] | null | undefined } & {
      readonly url?: string | undefined;
      readonly token?: string | undefined;
      readonly insecureHttp?: boolean | undefined;
    },
    actor: Actor,
  ): Promise<HawserHostRecord>;
  close(): Promise<void>;
}

export interface HawserService {
  readonly hosts: HawserHostsService;
  readonly tokens: HawserTokensService;
  /** Undefined where agents of Hawser may not connect. */
  readonly edge: HawserEdgeService | undefined;
  readonly adoption: AdoptionService;
}
