/** Waits for a WebSocket that is being opened, whatever becomes of it. */
import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import { FairleadError } from '../../shared/errors.ts';

export interface WhenOpenOptions {
  readonly signal?: AbortSignal;
  /** What the connection failed with, as an error for people. */
  readonly explain: (error: Error) => Error;
  /** Reads the answer of a server that did not open it. */
  readonly refusal: (response: IncomingMessage) => Promise<Error>;
}

/** @returns the open WebSocket. @throws what the options make of a failure, or FairleadError CANCELLED */
export function whenOpen(ws: WebSocket, { signal, explain, refusal }: WhenOpenOptions): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      reject(givenUp(signal));
      ws.terminate();
    };
    signal?.addEventListener('abort', abort, { once: true });
    const settle = () => signal?.removeEventListener('abort', abort);
    ws.once('open', () => {
      settle();
      resolve(ws);
    });
    // Kept for good: what comes after the opening is told by the close, and must not end the process here.
    ws.on('error', (error) => {
      settle();
      reject(explain(error));
    });
    ws.once('unexpected-response', (request, response) => {
      settle();
      refusal(response)
        .then(reject, reject)
        .finally(() => request.destroy());
    });
  });
}

export function givenUp(signal: AbortSignal | undefined): FairleadError {
  return new FairleadError('CANCELLED', 'the connection was given up', { cause: signal?.reason });
}
