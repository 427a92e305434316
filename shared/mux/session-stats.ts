/** What a session counts of itself, for figures and tests. */

import type { DeflateCount } from './deflate.ts';
import type { LinkStats } from './link-stats.ts';

export interface SessionStats {
  readonly link: LinkStats;
  /** Frame bytes, headers included. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Frame bytes out that the peer has acknowledged. */
  readonly bytesAcked: number;
  readonly framesIn: number;
  readonly framesOut: number;
  /** Frames that were dropped because their stream was closed already. */
  readonly framesDropped: number;
  /** What its streams hold, or have promised to take, in bytes: windows, messages in the making, bytes to be sent. */
  readonly memoryBytes: number;
  /** Time in which a stream had bytes to send and no credit, summed over streams, in ms. */
  readonly creditStarvedMs: number;
  /** Time in which the socket took no more, in ms. */
  readonly socketBlockedMs: number;
  /** Resets by code, of both ends. */
  readonly resetsByCode: ReadonlyMap<string, number>;
  /** Payload bytes of compressed frames out and in, before and after. */
  readonly deflated: Readonly<DeflateCount>;
  readonly inflated: Readonly<DeflateCount>;
  readonly queuedBytes: { readonly control: number; readonly interactive: number; readonly bulk: number };
}
