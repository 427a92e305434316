/** Operators that are known by the client certificate of their connection. */
import { FairleadError } from '../../shared/errors.ts';
import type { Authenticator } from './credentials.ts';
import { isOwnOrigin, isSafe } from './own-origin.ts';
import { asksForWebSocket } from './web-sockets.ts';

export const clientCertificate: Authenticator = (request, _reply, deps) => {
  const principal = deps.operatorCertificates.authenticate(request.raw.socket);
  if (principal === undefined) return undefined;
  // Programs name no origin. A browser does, and adds the certificate to what any page makes it send.
  const mayChange = !isSafe(request) || asksForWebSocket(request.raw);
  const isForeign = mayChange && request.headers.origin !== undefined && !isOwnOrigin(request, deps);
  const forgery = isForeign
    ? new FairleadError('FORBIDDEN', 'the request comes from a page of another origin: its host is no --public-host')
    : undefined;
  return { principal, forgery };
};
