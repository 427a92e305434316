/** How a request says who sends it: by a token, a session's cookie or a client certificate. What it says first counts. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { FairleadError } from '../../shared/errors.ts';
import type { ApiDeps, Principal } from './deps.ts';

/** A credential that a request came with. */
export interface Credential {
  /** Whom it stands for. Rejects with FairleadError UNAUTHORIZED if it does not count. */
  readonly principal: Promise<Principal>;
  /** Why it may be another site that sends it, by a browser that adds its credentials to whatever it is told to send. */
  readonly forgery: FairleadError | undefined;
}

/** Looks for one kind of credential. @returns undefined if the request has none of it */
export type Authenticator = (request: FastifyRequest, reply: FastifyReply, deps: ApiDeps) => Credential | undefined;

/** The first credential that one of `authenticators` finds. One that does not count is not made up for by a later one. */
export function credentialOf(
  authenticators: readonly Authenticator[],
  ...asked: Parameters<Authenticator>
): Credential | undefined {
  for (const find of authenticators) {
    const found = find(...asked);
    if (found !== undefined) return found;
  }
  return undefined;
}
