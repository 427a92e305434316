/** What reads stacks asks Docker by: an agent its own, the server that of a host without one. */
import type { Readable } from 'node:stream';
import type { Clock } from '../clock.ts';
import type { DockerCall } from '../docker/call.ts';

/** Bytes of a stream. Where many share one connection that cannot wait for each of them, one may have to be read at once. */
export type SharedBytes = Readable & { readonly isPressing?: boolean };
/** What such bytes emit when they begin to press. */
export const PRESSING = 'pressing';

export interface DockerReader {
  readonly clock: Clock;
  /** Docker's whole answer as JSON. @throws FairleadError what Docker refuses it with */
  json(call: DockerCall): Promise<unknown>;
  /**
   * The bytes of Docker's answer.
   * @param isForeign whether they are somebody else's, so that none of them may be taken for a word of Docker's own
   * @throws FairleadError what Docker refuses it with
   */
  stream(call: DockerCall, isForeign?: boolean): Promise<SharedBytes>;
}
