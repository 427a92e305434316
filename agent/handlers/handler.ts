/** What a handler is: it serves one stream of its kind, start to end. */
import type { Logger } from 'pino';
import type { StreamKind } from '../../shared/messages/kind.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { TcpTarget } from '../../shared/tcp-targets.ts';
import type { DockerEngine } from '../docker/engine.ts';
import type { Stacks } from '../stacks/stacks.ts';
import type { Volumes } from '../volumes/volumes.ts';

export interface HandlerContext {
  readonly docker: DockerEngine;
  /** Absent: nothing reaches into volumes. */
  readonly volumes?: Volumes;
  /** Whether the host's policy lets `tcp.open` reach a target; absent: nothing may be reached. */
  readonly permitsTarget?: (target: TcpTarget) => boolean;
  /** Absent: no stacks are changed. */
  readonly stacks?: Pick<Stacks, 'change' | 'lastChange'>;
  readonly info: { readonly agentVersion: string };
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/**
 * Serves one stream. Resolves when its work is done; rejects with the FairleadError with which the caller is to reset
 * the stream. Ends its work within a second when `stream.aborted` fires.
 */
export type Handler<K extends StreamKind = StreamKind> = (
  stream: MuxStream<K>,
  context: HandlerContext,
) => Promise<void>;
