/** The one seam: everything above the wire sees a host through a HostLink, whatever protocol its agent speaks. */
import type { Duplex, Writable } from 'node:stream';
import type { ErrorCode, FairleadError } from '../../shared/errors.ts';
import type { DockerState, HostPolicy } from '../../shared/messages/control.ts';
import type { Item, Params, Reply, Signal, StreamKind, Trailer } from '../../shared/messages/kind.ts';
import type { LinkFigures } from '../../shared/messages/link.ts';
import type { UpgradeAbility } from '../../shared/messages/release.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';

/** A stream whose host has answered. */
export interface LinkStream<K extends StreamKind = StreamKind> {
  /** The host's first message. */
  readonly reply: Reply<K>;
  /** The stream's bytes, both ways. Destroyed with a FairleadError when the stream is interrupted. */
  readonly bytes: Duplex;
  /** The host's items in order; throws when the stream is interrupted. To be iterated once. */
  items(): AsyncIterable<Item<K>>;
  /** The host's last message, for kinds that have one; rejects when the stream is interrupted. */
  readonly trailer: Promise<Trailer<K>>;
  signal(value: Signal<K>): void;
  /** Ends both directions at once and the work on the host with them. Idempotent. */
  reset(error: FairleadError): void;
  /** Resolves when both directions have ended, with the error if it was not a clean end. */
  readonly closed: Promise<FairleadError | undefined>;
}

/** What a link knows of its host. */
export interface LinkDescription {
  readonly agentVersion: string;
  readonly hostname: string;
  readonly os: string;
  readonly arch: string;
  readonly docker: DockerState;
  readonly capabilities: readonly string[];
  readonly policy: HostPolicy;
  /** Whether its agent can replace itself; undefined of one that does not know how. */
  readonly upgrade?: UpgradeAbility | undefined;
  /** ms since 1970. */
  readonly connectedAt: number;
  readonly lastSeenAt: number;
  /** How far the host's clock is ahead of the server's, in ms, as of its last heartbeat; absent: it does not say. */
  readonly clockSkewMs?: number | undefined;
}

export interface Compressed {
  readonly rawBytes: number;
  readonly wireBytes: number;
}

/** What crosses a link, and how well. */
export interface LinkTraffic {
  /** Frame bytes, headers included. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly openStreams: number;
  /** What the session's streams hold at this end, or have promised to take. */
  readonly memoryBytes: number;
  /** Payload bytes of compressed frames, before and after. */
  readonly compressedIn: Compressed;
  readonly compressedOut: Compressed;
  /** What this end knows of what it sends. */
  readonly toAgent: LinkFigures;
  /** What the agent says of what it sends: its word, shown and not relied upon. Undefined until it has said something. */
  readonly fromAgent: LinkFigures | undefined;
}

export interface CallOptions {
  /** Ends the call or the stream, and the work on the host. */
  readonly signal?: AbortSignal;
  /** Time for the answer (for `open`: for the reply), 30 s unless given; Infinity: as long as `signal` lets it. */
  readonly timeoutMs?: number;
}

export interface OpenOptions extends CallOptions {
  /** Called as soon as the stream is open, to send what the host is to have before it replies. */
  readonly feed?: (bytes: Writable) => void;
}

export interface HostLink {
  readonly hostId: string;
  /** Names the agent's process, so that a reconnect is told apart from a second agent. */
  readonly instanceId: string;
  /** One answer to one question. @throws FairleadError */
  call<K extends StreamKind>(kind: K, params: Params<K>, options?: CallOptions): Promise<Reply<K>>;
  /** Opens a stream and waits for the host's reply. @throws FairleadError */
  open<K extends StreamKind>(kind: K, params: Params<K>, options?: OpenOptions): Promise<LinkStream<K>>;
  describe(): LinkDescription;
  /** Undefined for a protocol that does not measure. */
  traffic(): LinkTraffic | undefined;
  /**
   * The round trip to the agent and back, in ms, past whatever else is on its way.
   * @throws FairleadError TIMEOUT (10 s unless given), OVERLOADED, STREAM_INTERRUPTED, UNSUPPORTED
   */
  ping(options?: { readonly timeoutMs?: number }): Promise<number>;
  /** Tells the agent which release the server wishes there; absent for a protocol that has no word for it. */
  wish?(release: SignedRelease): void;
  /** Ends the session with a code the host can read. Idempotent. */
  close(code: ErrorCode, reason: string): void;
  /** Resolves once the link is gone, with the cause. */
  readonly closed: Promise<FairleadError>;
}
