/** What serves one kind on a host of Hawser whose agent listens, where that is done otherwise than in Edge mode. */
import type { Params, StreamKind } from '../../../shared/messages/kind.ts';
import type { LinkStream, OpenOptions } from '../../hosts/host-link.ts';
import type { KindContext } from '../kind.ts';
import type { StandardTransport } from './standard-transport.ts';

export interface StandardContext extends KindContext {
  readonly transport: StandardTransport;
}

/** Serves one stream: resolves with it once Docker has answered. */
export type ServeStandard<K extends StreamKind> = (
  context: StandardContext,
  params: Params<K>,
  options: OpenOptions,
) => Promise<LinkStream<K>>;
