/** Operators that are known by the client certificate of their connection. */
import type { FastifyRequest } from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import type { Authenticator } from './authenticators.ts';
import type { ApiDeps } from './deps.ts';
import { isMadeElsewhere, isOwnOrigin, isSafe } from './own-origin.ts';
import { asksForWebSocket } from './upgrades.ts';

export function clientCertificate(deps: ApiDeps): Authenticator {
  return (request) => {
    const principal = deps.operatorCertificates.authenticate(request.raw.socket);
    return principal === undefined ? undefined : { check: () => principal, forgery: () => forgery(request, deps) };
  };
}

/** Programs name no origin. A browser does, and adds the certificate to what any page makes it send. */
function forgery(request: FastifyRequest, deps: ApiDeps): FairleadError | undefined {
  const isSocket = asksForWebSocket(request.raw);
  const mayChange = !isSafe(request) || isSocket;
  const isElsewhere = mayChange && request.headers.origin !== undefined && !isOwnOrigin(request, deps);
  if (!isElsewhere && (isSocket || !isMadeElsewhere(request))) return undefined;
  return new FairleadError(
    'FORBIDDEN',
    'the request comes from a page of another origin: its host is no --public-host',
  );
}
