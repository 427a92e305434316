/** What serves one kind on a host of Hawser, and what it is given. */
import type { EventFeed } from '../../shared/docker/event-feed.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { DockerState } from '../../shared/messages/control.ts';
import type { Params, StreamKind } from '../../shared/messages/kind.ts';
import type { Once } from '../../shared/once.ts';
import type { LinkStream, OpenOptions } from '../hosts/host-link.ts';
import type { Answer, AskOptions, HawserCall } from './ask.ts';
import type { Samples } from './host-feeds.ts';
import type { StackMemory } from './stack-memory.ts';
import type { HawserTransport } from './transport.ts';

export interface KindContext {
  readonly transport: HawserTransport;
  /** Asks Docker, and notes whether it is reachable. */
  ask(call: HawserCall, options?: AskOptions): Promise<Answer>;
  readonly docker: () => DockerState;
  readonly facts: {
    readonly agentVersion: string;
    readonly hostname: string;
    readonly os: string;
    readonly arch: string;
  };
  /** What the agent has measured. */
  readonly samples: Samples;
  /** The host's events, from the first time that somebody asks for them. */
  readonly events: () => EventFeed;
  /** The changes of its stacks, as far as this session knows them. */
  readonly stacks: StackMemory;
  /** What was done for which idempotency key, over all sessions of the host. */
  readonly once: Once;
}

/** Serves one stream: resolves with it once Docker has answered. */
export type ServeKind<K extends StreamKind = StreamKind> = (
  context: KindContext,
  params: Params<K>,
  options: OpenOptions,
) => Promise<LinkStream<K>>;

/** A kind that no agent of Hawser can serve, or not so. @param what names the capability that is missing */
export function unsupported(what: string): FairleadError {
  return new FairleadError('UNSUPPORTED', `this host has an agent of Hawser, which cannot serve ${what}`);
}
