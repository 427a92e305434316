/** The types of this API's Fastify: TypeBox schemas, the access that every route declares, and who asks. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { Role } from '../../shared/messages/kind.ts';
import type { Principal } from './deps/caller.ts';

export type Api = FastifyInstance<Server, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>;

/** Who may use a route: anyone, or bearers of tokens with at least this role. */
export type Access = 'public' | Role;

/**
 * What a route is to a token that is limited to some hosts: about the host in its path; a list that its handler cuts down
 * to the hosts of the caller; about nothing but the caller, or public; or about the whole installation, and so refused.
 */
export type ScopeRule = 'host' | 'filtered' | 'none' | 'installation';

/** A line of the table of routes. */
export interface DeclaredRoute {
  readonly method: string;
  readonly url: string;
  readonly access: Access;
  readonly scope: ScopeRule;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Every route declares it; one that does not fails at startup. */
    access?: Access;
    /** As `access`. */
    scope?: ScopeRule;
    /** Takes the API token as an HTTP Basic password too, for pages that a person opens in a browser. */
    basicAuth?: boolean;
  }
  interface FastifyInstance {
    /** All routes, with who may use them. */
    readonly declaredRoutes: readonly DeclaredRoute[];
  }
  interface FastifyRequest {
    /** Set on every route that is not public. */
    principal: Principal | undefined;
  }
}
