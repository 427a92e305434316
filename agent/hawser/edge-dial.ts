/** Opens the WebSocket to a Dockhand server, through a proxy where one is configured. */
import type { IncomingMessage } from 'node:http';
import type { Agent } from 'node:https';
import { WebSocket } from 'ws';
import { HELLO_TIMEOUT_MS } from '../../shared/limits.ts';
import { explainNetworkError } from '../../shared/network-errors.ts';
import { UnreachableError } from '../../shared/pinned-http.ts';
import { givenUp, whenOpen } from '../link/when-open.ts';
import type { EdgeConfig } from './config.ts';
import { MAX_INBOUND_BYTES } from './limits.ts';

export interface EdgeDeps {
  /** Goes through a proxy where one is configured. Must not keep connections or TLS sessions. */
  readonly httpsAgent: Agent;
  /** A number in [0, 1). */
  readonly random: () => number;
}

/** @returns an open WebSocket, nothing said yet. @throws UnreachableError, FairleadError CANCELLED */
export function dialEdge(
  { url, ca }: Pick<EdgeConfig, 'url' | 'ca'>,
  { httpsAgent }: Pick<EdgeDeps, 'httpsAgent'>,
  signal: AbortSignal,
): Promise<WebSocket> {
  if (signal.aborted) return Promise.reject(givenUp(signal));
  const ws = new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: MAX_INBOUND_BYTES,
    handshakeTimeout: HELLO_TIMEOUT_MS,
    followRedirects: false,
    // What is plain goes no further than this machine, or as its owner has said.
    ...(url.startsWith('wss:') ? { agent: httpsAgent, rejectUnauthorized: true, minVersion: 'TLSv1.2' } : {}),
    ...(ca === undefined ? {} : { ca }),
  });
  return whenOpen(ws, {
    signal,
    explain: (error) => {
      const { failure, message } = explainNetworkError(error, url);
      return new UnreachableError(failure, message, error);
    },
    refusal: async (response) => notThere(response, url),
  });
}

function notThere(response: IncomingMessage, url: string): UnreachableError {
  response.destroy();
  const status = response.statusCode ?? 0;
  return new UnreachableError('other', `${url} answers ${status} instead of a Hawser session: is that its address?`);
}
