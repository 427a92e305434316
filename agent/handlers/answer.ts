/** One exchange with Docker whose answer is read as it comes, with its headers: for a stream of the kind that it serves. */
import type { IncomingMessage } from 'node:http';
import { answerFailure } from '../../shared/docker/answer-failure.ts';
import type { HeaderPair } from '../../shared/docker/headers.ts';
import { readText } from '../../shared/docker/json.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { DockerEngine } from '../docker/engine.ts';

const MAX_ERROR_BYTES = 64 * 1024;

export interface Asked {
  readonly method: 'GET' | 'POST';
  /** Path and query. */
  readonly target: string;
  readonly headers?: readonly HeaderPair[];
  /** Time for the answer's head. */
  readonly headMs: number;
}

export interface GoodAnswer {
  /** Undefined for one that is not there. */
  header(name: string): string | undefined;
  readonly body: IncomingMessage;
}

/**
 * Lets `use` read Docker's answer; the exchange does not outlive that, nor the stream.
 * @throws FairleadError for what Docker refuses, TIMEOUT, DENIED_BY_HOST; what the connection or `use` fails with
 */
export async function withAnswer<K extends StreamKind>(
  { kind, aborted }: Pick<MuxStream<K>, 'kind' | 'aborted'>,
  docker: DockerEngine,
  { method, target, headers = [], headMs }: Asked,
  use: (answer: GoodAnswer) => Promise<void>,
): Promise<void> {
  aborted.throwIfAborted();
  const exchange = docker.exchange(kind, { method, target, headers, body: 'none' });
  const { promise: given, reject: giveUp } = Promise.withResolvers<never>();
  const onAbort = () => {
    giveUp(aborted.reason);
    exchange.destroy();
  };
  const late = () => giveUp(new FairleadError('TIMEOUT', `Docker did not answer within ${headMs / 1000} s`));
  const timer = docker.clock.setTimeout(late, headMs);
  aborted.addEventListener('abort', onAbort);
  try {
    const { status, headers: found, body } = await Promise.race([exchange.answer, given]);
    timer.cancel();
    if (body === undefined) throw new Error('an answer has a body');
    if (status < 200 || status >= 300) throw answerFailure(status, await readText(body, MAX_ERROR_BYTES));
    const header = (name: string) => found.find(([each]) => each.toLowerCase() === name)?.[1];
    await Promise.race([use({ header, body }), given]);
  } catch (error) {
    aborted.throwIfAborted();
    throw error;
  } finally {
    timer.cancel();
    aborted.removeEventListener('abort', onAbort);
    exchange.destroy();
  }
}
