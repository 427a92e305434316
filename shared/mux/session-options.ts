/** What a session is made with: its connection, its messages, and who takes what comes. */
import type { Clock } from '../clock.ts';
import type { Catalogue, ControlKind } from '../messages/kind.ts';
import type { MemoryPool } from './memory-pool.ts';
import type { SessionLimits } from './session-limits.ts';
import type { MuxStream } from './stream.ts';
import type { Transport } from './transport.ts';

export interface SessionOptions {
  /** The server opens even streams (2, 4, …), the agent odd ones (1, 3, …). */
  readonly side: 'server' | 'agent';
  readonly transport: Transport;
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  /** Other limits than those of shared/limits.ts, for tests. */
  readonly limits?: Partial<SessionLimits>;
  /** What all sessions of the process together may hold; unlimited if absent. */
  readonly memory?: MemoryPool;
  /** The peer opened a stream. Its parameters fit their schema. */
  onStream(stream: MuxStream): void;
  /** A control message came, and fits its schema. Pings, pongs and goaways are handled inside. */
  onControl(kind: ControlKind, value: unknown): void;
  /** Any frame arrived. Called for each, so it must be cheap. */
  onActivity?(): void;
}
