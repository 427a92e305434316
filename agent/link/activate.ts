/** Proves a new certificate to the server by using it, beside the session that goes on. */
import type { Agent } from 'node:https';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { requestPinned } from '../../shared/pinned-http.ts';
import { refusalOf } from '../identity/refusal.ts';
import type { Identity } from '../identity/state-dir.ts';

const TIMEOUT_MS = 20_000;

/**
 * Makes a connection to the agents' port by `identity`: the server then takes it for the host's certificate.
 * @throws UnreachableError, or FairleadError with the code that the server refused it with
 */
export async function activate(identity: Identity, options: { httpsAgent: Agent; signal: AbortSignal }): Promise<void> {
  const url = new URL(identity.record.agentUrl);
  const answer = await requestPinned({
    url: `https://${url.host}${url.pathname.replace(/\/+$/, '')}/activate`,
    method: 'POST',
    ca: identity.caPem,
    servername: INTERNAL_SERVER_NAME,
    client: { cert: identity.certPem, key: identity.keyPem },
    agent: options.httpsAgent,
    signal: options.signal,
    timeoutMs: TIMEOUT_MS,
  });
  if (answer.status !== 204) throw refusalOf(answer, 'an activation');
}
