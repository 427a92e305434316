/** The body of an answer of Docker's: only of a good one, and only as long as it is wanted. */
import type { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { answerFailure } from '../../shared/docker/answer-failure.ts';
import { readText } from '../../shared/docker/json.ts';
import { FairleadError } from '../../shared/errors.ts';

const MAX_ERROR_BYTES = 64 * 1024;

/** The body of a good answer. @throws FairleadError for an error answer, and for a connection nobody asked for */
export async function successOf(answer: IncomingMessage | Socket): Promise<IncomingMessage> {
  if (answer instanceof Socket) {
    answer.destroy();
    throw new FairleadError('DOCKER_ERROR', 'Docker handed over the connection unasked');
  }
  const status = answer.statusCode ?? 0;
  if (status >= 200 && status < 300) return answer;
  throw answerFailure(status, await readText(answer, MAX_ERROR_BYTES));
}

/** Destroys `body` with the signal's reason when it is aborted. */
export function bind(body: IncomingMessage, signal: AbortSignal | undefined): Readable {
  if (signal === undefined) return body;
  const onAbort = () => body.destroy(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort);
  body.once('close', () => signal.removeEventListener('abort', onAbort));
  return body;
}
