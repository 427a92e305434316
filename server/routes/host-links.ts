/** Hosts as routes reach them: what a host's own policy denies is written down, reads as well as changes, whatever the route. */
import type { FastifyRequest } from 'fastify';
import { isFairleadError } from '../../shared/errors.ts';
import type { Params, Reply, StreamKind } from '../../shared/messages/kind.ts';
import type { CallOptions, HostLink, LinkStream, OpenOptions } from '../hosts/host-link.ts';
import type { Api } from './app-types.ts';
import { type AuditedAction, refusalOf } from './audited.ts';
import type { ApiDeps } from './deps.ts';
import { refusalLog } from './refusals.ts';

export interface HostLinks {
  /**
   * The link to a host, for one request.
   * @param action what the audit log calls a refusal; the kind that was denied, unless given
   * @throws FairleadError HOST_NOT_FOUND, HOST_OFFLINE
   */
  to(
    request: FastifyRequest,
    host: string,
    action?: Pick<AuditedAction, 'action' | 'target' | 'detail'>,
  ): Promise<HostLink>;
  /**
   * The same, once a host that is away has come back.
   * @throws FairleadError HOST_NOT_FOUND, HOST_OFFLINE at once when it is revoked; the signal's reason
   */
  onReturn(request: FastifyRequest, host: string, signal: AbortSignal): Promise<HostLink>;
}

/** Writes down that `kind` was denied. Never rejects. */
type NoteDenial = (kind: StreamKind, params: unknown) => Promise<void>;

export function hostLinks(api: Api, deps: Pick<ApiDeps, 'hosts' | 'audit' | 'clock' | 'limits'>): HostLinks {
  // A loop must not fill the log; whoever asks is told the host's answer all the same, however often.
  const denied = refusalLog(api, deps, {
    action: 'host.denied',
    perAddress: 'refusedLoginsPerMinute',
    answerStays: true,
  });
  const noted = (link: HostLink, ...[request, host, action]: Parameters<HostLinks['to']>): HostLink =>
    new NotedLink(link, async (kind, params) => {
      const what = {
        action: action?.action ?? kind.name,
        target: action?.target ?? targetOf(host, params),
        detail: { ...action?.detail, code: 'DENIED_BY_HOST' },
      };
      await denied(request, refusalOf(request, what));
    });
  return {
    to: async (request, host, action) => noted(await deps.hosts.link(host), request, host, action),
    onReturn: async (request, host, signal) => noted(await deps.hosts.linkOnReturn(host, signal), request, host),
  };
}

function targetOf(host: string, params: unknown): string {
  const { id } = params as { id?: unknown };
  return typeof id === 'string' ? `${host}/${id}` : host;
}

/** A link that notes what its host denies: at once, or once a stream has begun. */
class NotedLink implements HostLink {
  readonly hostId: string;
  readonly instanceId: string;
  readonly closed: HostLink['closed'];
  readonly #link: HostLink;
  readonly #note: NoteDenial;

  constructor(link: HostLink, note: NoteDenial) {
    this.hostId = link.hostId;
    this.instanceId = link.instanceId;
    this.closed = link.closed;
    this.#link = link;
    this.#note = note;
  }

  async call<K extends StreamKind>(kind: K, params: Params<K>, options?: CallOptions): Promise<Reply<K>> {
    return await this.#noting(kind, params, () => this.#link.call(kind, params, options));
  }

  async open<K extends StreamKind>(kind: K, params: Params<K>, options?: OpenOptions): Promise<LinkStream<K>> {
    const stream = await this.#noting(kind, params, () => this.#link.open(kind, params, options));
    void stream.closed.then((error) => (isDenial(error) ? this.#note(kind, params) : undefined));
    return stream;
  }

  describe(): ReturnType<HostLink['describe']> {
    return this.#link.describe();
  }

  traffic(): ReturnType<HostLink['traffic']> {
    return this.#link.traffic();
  }

  async ping(options?: { readonly timeoutMs?: number }): Promise<number> {
    return await this.#link.ping(options);
  }

  close(...why: Parameters<HostLink['close']>): void {
    this.#link.close(...why);
  }

  async #noting<T>(kind: StreamKind, params: unknown, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isDenial(error)) await this.#note(kind, params);
      throw error;
    }
  }
}

function isDenial(error: unknown): boolean {
  return isFairleadError(error, 'DENIED_BY_HOST');
}
