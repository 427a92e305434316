/** A host behind an agent of Hawser: HostLink over JSON messages. */
import type { EventFeed } from '../../shared/docker/event-feed.ts';
import type { EventWarnings } from '../../shared/docker/follow-events.ts';
import { asObject, parseDockerJson } from '../../shared/docker/json.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { HawserMetrics, Hello } from '../../shared/hawser/messages.ts';
import type { DockerState } from '../../shared/messages/control.ts';
import { hostThroughput } from '../../shared/messages/host.ts';
import type { Params, Reply, StreamKind } from '../../shared/messages/kind.ts';
import type { Once } from '../../shared/once.ts';
import type {
  CallOptions,
  HostLink,
  LinkDescription,
  LinkStream,
  LinkTraffic,
  OpenOptions,
} from '../hosts/host-link.ts';
import { eventFeed, Samples } from './host-feeds.ts';
import { type KindContext, unsupported } from './kind.ts';
import type { ServedKinds } from './kinds.ts';
import { REQUEST_GRACE_MS, REQUEST_MS } from './limits.ts';
import { StackMemory } from './stack-memory.ts';
import type { HawserTransport } from './transport.ts';

/** What is asked of such a host without a look at what it can do. */
const WHY_NOT: Readonly<Record<string, string>> = {
  [hostThroughput.name]: ': its protocol has nothing that fills a link; the round trip is all that can be measured',
};
const PING_MS = 10_000;
/** Longer texts of Docker's are not kept of it. */
const MAX_FACT_CHARS = 64;

export interface HawserLinkOptions {
  readonly hostId: string;
  readonly transport: HawserTransport;
  /** What is served over it. */
  readonly kinds: ServedKinds;
  /** Not the token: nobody behind this needs it. */
  readonly hello: Omit<Hello, 'token'>;
  readonly once: Once;
  readonly log: EventWarnings;
  /** ms since 1970. */
  readonly connectedAt: number;
  /** Time for an answer where nobody says another: 30 s unless given. */
  readonly requestMs?: number | undefined;
}

export class HawserLink implements HostLink {
  readonly hostId: string;
  readonly instanceId: string;
  readonly closed: Promise<FairleadError>;
  readonly #transport: HawserTransport;
  readonly #options: HawserLinkOptions;
  readonly #capabilities: readonly string[];
  readonly #context: KindContext;
  #docker: DockerState;
  readonly #samples = new Samples();
  #feed: EventFeed | undefined;
  readonly #stateListeners = new Set<(state: DockerState) => void>();
  #facts: { readonly os: string; readonly arch: string };

  constructor(options: HawserLinkOptions) {
    const { hostId, transport, hello, once, requestMs = REQUEST_MS } = options;
    this.#options = options;
    this.hostId = hostId;
    this.#transport = transport;
    this.instanceId = instanceOf(hello);
    this.closed = transport.closed;
    this.#capabilities = hello.capabilities ?? [];
    this.#docker = firstState(hello.dockerVersion);
    this.#facts = { os: '', arch: '' };
    const link = this;
    this.#context = {
      transport,
      once,
      ask: async (call, asked) => {
        const timeoutMs = asked?.timeoutMs ?? requestMs + REQUEST_GRACE_MS;
        try {
          const answer = await transport.ask(call, { ...asked, timeoutMs });
          if (!link.#docker.reachable) link.#setReachable();
          return answer;
        } catch (error) {
          link.#noteFailure(error);
          throw error;
        }
      },
      docker: () => link.#docker,
      get facts() {
        return { ...link.#facts, agentVersion: agentVersion(hello), hostname: hello.hostname || hello.agentName };
      },
      samples: this.#samples,
      stacks: new StackMemory(),
      events: () => link.#events(),
    };
  }

  /** Asks the host's Docker what it is, which the hello does not say. Never rejects. */
  async learn(): Promise<void> {
    try {
      const { body } = await this.#context.ask({ method: 'GET', path: '/version' });
      const { Version, ApiVersion, Os, Arch } = asObject(parseDockerJson(body.toString('utf8')));
      const fact = (value: unknown) => (typeof value === 'string' ? value.slice(0, MAX_FACT_CHARS) : '');
      this.#facts = { os: fact(Os).slice(0, 32), arch: nodeArch(fact(Arch).slice(0, 32)) };
      this.#setDocker({ reachable: true, version: fact(Version), apiVersion: fact(ApiVersion).slice(0, 16) });
    } catch (error) {
      // What it means for Docker's state has been noted; a Docker that answers nonsense stays as the hello says it is.
      if (!isFairleadError(error)) throw error;
    }
  }

  /** Takes in what the agent has measured. */
  measured(message: HawserMetrics): void {
    this.#samples.add(message);
  }

  async call<K extends StreamKind>(kind: K, params: Params<K>, options: CallOptions = {}): Promise<Reply<K>> {
    const { reply, bytes } = await this.open(kind, params, options);
    // An answer is all that was asked for: whatever else would come is not waited for.
    bytes.destroy();
    return reply;
  }

  async open<K extends StreamKind>(kind: K, params: Params<K>, options: OpenOptions = {}): Promise<LinkStream<K>> {
    const serve = this.#options.kinds.server(kind, this.#capabilities);
    if (serve === undefined) throw unsupported(kind.name + (WHY_NOT[kind.name] ?? ''));
    options.signal?.throwIfAborted();
    const timeoutMs = options.timeoutMs ?? this.#options.requestMs ?? REQUEST_MS;
    const opening: Promise<LinkStream> = serve(this.#context, params as Params<StreamKind>, { ...options, timeoutMs });
    return (await opening) as unknown as LinkStream<K>;
  }

  describe(): LinkDescription {
    const { hello, connectedAt } = this.#options;
    return {
      agentVersion: agentVersion(hello),
      hostname: hello.hostname || hello.agentName,
      ...this.#facts,
      docker: this.#docker,
      capabilities: this.#options.kinds.names(this.#capabilities),
      // Agents of Hawser have none.
      policy: { allow: [], deny: [] },
      connectedAt,
      lastSeenAt: this.#transport.lastSeenAt,
    };
  }

  traffic(): LinkTraffic | undefined {
    return undefined;
  }

  async ping({ timeoutMs = PING_MS }: { readonly timeoutMs?: number } = {}): Promise<number> {
    const { promise, reject } = Promise.withResolvers<never>();
    const late = new FairleadError('TIMEOUT', `the agent did not answer a ping within ${timeoutMs} ms`);
    const timer = this.#transport.clock.setTimeout(() => reject(late), timeoutMs);
    try {
      return await Promise.race([this.#transport.ping(), promise]);
    } finally {
      timer.cancel();
    }
  }

  close(code: ErrorCode, reason: string): void {
    this.#transport.close(code, reason);
  }

  #events(): EventFeed {
    const link = this;
    const states = {
      get state() {
        return link.#docker;
      },
      onState(listener: (state: DockerState) => void) {
        link.#stateListeners.add(listener);
        return () => link.#stateListeners.delete(listener);
      },
    };
    this.#feed ??= eventFeed(this.#transport, states, this.#options.log);
    return this.#feed;
  }

  #setDocker(state: DockerState): void {
    const isNews = state.reachable !== this.#docker.reachable;
    this.#docker = state;
    if (isNews) for (const listener of this.#stateListeners) listener(state);
  }

  #setReachable(): void {
    const { reason: _, ...state } = this.#docker;
    this.#setDocker({ ...state, reachable: true });
  }

  #noteFailure(error: unknown): void {
    if (!isFairleadError(error, 'DOCKER_UNREACHABLE')) return;
    this.#setDocker({ ...this.#docker, reachable: false, reason: error.message.slice(0, 256) });
  }
}

/** Tells the processes of a host's agents apart: ids are made anew at each start, but some are configured, and then twice. */
export function instanceOf({ agentId, agentName, hostname = '' }: Omit<Hello, 'token'>): string {
  return [agentId, agentName, hostname].map((part) => part.slice(0, 64)).join('/');
}

function firstState(version: string | undefined): DockerState {
  if (version !== undefined && version !== '' && version !== 'unknown') return { reachable: true, version };
  return { reachable: false, reason: 'Docker did not answer the agent when it connected' };
}

/** Before 0.2.14 the version that was sent was the protocol's. */
function agentVersion({ version, protocol }: Omit<Hello, 'token'>): string {
  return protocol === undefined && version === '1.0' ? 'before 0.2.14' : version;
}

/** As Node names them, and with it all other hosts. */
function nodeArch(arch: string): string {
  return arch === 'amd64' ? 'x64' : arch === '386' ? 'ia32' : arch;
}
