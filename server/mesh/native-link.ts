/** A host behind a native agent: HostLink over the mux. */
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { knownFigures, linkFigures } from '../../shared/link-figures.ts';
import type { DockerState, Heartbeat, Hello } from '../../shared/messages/control.ts';
import { FIRST_KINDS } from '../../shared/messages/index.ts';
import type { Params, Reply, StreamKind } from '../../shared/messages/kind.ts';
import type { LinkFigures } from '../../shared/messages/link.ts';
import { agentUpgrade } from '../../shared/messages/release.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import type {
  CallOptions,
  HostLink,
  LinkDescription,
  LinkStream,
  LinkTraffic,
  OpenOptions,
} from '../hosts/host-link.ts';

const DEFAULT_TIMEOUT_MS = 30_000;

export class NativeLink implements HostLink {
  readonly hostId: string;
  readonly session: Session;
  readonly instanceId: string;
  readonly #hello: Hello;
  readonly #connectedAt: number;
  #docker: DockerState;
  #clockSkewMs: number | undefined;
  #fromAgent: LinkFigures | undefined;
  readonly closed: Promise<FairleadError>;

  constructor(options: { hostId: string; session: Session; hello: Hello; connectedAt: number }) {
    this.hostId = options.hostId;
    this.session = options.session;
    this.instanceId = options.hello.instanceId;
    this.#hello = options.hello;
    this.#docker = options.hello.docker;
    this.#connectedAt = options.connectedAt;
    this.closed = options.session.closed.then((end) => new FairleadError(end.code, end.reason));
  }

  /** Whether its agent only shows that it can connect: it serves nothing, and another one has the host. */
  get isTrial(): boolean {
    return this.#hello.trial === true;
  }

  /** Takes in what a heartbeat says of the host. @param now ms since 1970 */
  beat(heartbeat: Heartbeat, now: number): void {
    this.#clockSkewMs = heartbeat.time - now;
    this.#docker = heartbeat.docker;
    if (heartbeat.link !== undefined) this.#fromAgent = knownFigures(heartbeat.link);
  }

  async call<K extends StreamKind>(kind: K, params: Params<K>, options: CallOptions = {}): Promise<Reply<K>> {
    const stream = this.#open(kind, params, options.signal);
    return await answered(stream, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  }

  async open<K extends StreamKind>(kind: K, params: Params<K>, options: OpenOptions = {}): Promise<LinkStream<K>> {
    const stream = this.#open(kind, params, options.signal);
    options.feed?.(stream.bytes);
    const reply = await answered(stream, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    return {
      reply,
      bytes: stream.bytes,
      items: () => stream.items(),
      trailer: stream.trailer,
      signal: (value) => stream.signal(value),
      reset: (error) => stream.reset(error),
      closed: stream.closed,
    };
  }

  describe(): LinkDescription {
    const { agentVersion, hostname, os, arch, capabilities, policy, upgrade } = this.#hello;
    return {
      agentVersion,
      hostname,
      os,
      arch,
      capabilities,
      policy,
      upgrade,
      docker: this.#docker,
      clockSkewMs: this.#clockSkewMs,
      connectedAt: this.#connectedAt,
      lastSeenAt: this.session.lastActivityAt,
    };
  }

  traffic(): LinkTraffic {
    const { stats, openStreams } = this.session;
    const { bytesIn, bytesOut, memoryBytes, deflated, inflated } = stats;
    return {
      ...{ bytesIn, bytesOut, openStreams, memoryBytes },
      compressedIn: { rawBytes: inflated.raw, wireBytes: inflated.packed },
      compressedOut: { rawBytes: deflated.raw, wireBytes: deflated.packed },
      toAgent: linkFigures(stats),
      fromAgent: this.#fromAgent,
    };
  }

  async ping(options: { readonly timeoutMs?: number } = {}): Promise<number> {
    return await this.session.ping(options);
  }

  wish(release: SignedRelease): void {
    this.session.sendControl(agentUpgrade, { release });
  }

  close(code: FairleadError['code'], reason: string): void {
    this.session.destroy(new FairleadError(code, reason));
  }

  #open<K extends StreamKind>(kind: K, params: Params<K>, signal: AbortSignal | undefined): MuxStream<K> {
    this.#requireKnown(kind);
    try {
      return this.session.open(kind, params, signal === undefined ? {} : { signal });
    } catch (error) {
      // To a caller a session that is over and one that is ending are the same: the host cannot be reached now.
      if (isFairleadError(error, 'SHUTDOWN') || isFairleadError(error, 'STREAM_INTERRUPTED')) {
        throw new FairleadError('HOST_OFFLINE', 'the host is not connected; it comes back by itself', { cause: error });
      }
      throw error;
    }
  }

  /** @throws FairleadError UNSUPPORTED for a kind that the agent may not know: it would end its session for it */
  #requireKnown({ name }: StreamKind): void {
    const { capabilities, denied = [] } = this.#hello;
    if (FIRST_KINDS.has(name) || capabilities.includes(name) || denied.includes(name)) return;
    throw new FairleadError('UNSUPPORTED', `the host's agent does not serve ${name}: it is too old; upgrade the agent`);
  }
}

/** The stream's reply; resets the stream when it does not come in time. */
async function answered<K extends StreamKind>(stream: MuxStream<K>, timeoutMs: number): Promise<Reply<K>> {
  if (timeoutMs === Number.POSITIVE_INFINITY) return await stream.reply;
  const late = setTimeout(() => {
    stream.reset(new FairleadError('TIMEOUT', `the host did not answer ${stream.kind.name} within ${timeoutMs} ms`));
  }, timeoutMs);
  try {
    return await stream.reply;
  } finally {
    clearTimeout(late);
  }
}
