/** Login by password, the session that it opens, and its end. */
import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_NAME_CHARS } from '../../shared/limits.ts';
import { RefusedRequest } from '../audit/refused-request.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { isOwnOrigin } from './own-origin.ts';
import { refusalLog } from './refusals.ts';
import { NoContent, SessionView } from './schemas.ts';
import { clearSessionCookie, requireHttps, sessionSecret, setSessionCookie } from './session-cookie.ts';
import { sessionView } from './views.ts';

const MAX_LOGIN_BODY_BYTES = 8 * 1024;
const LoginBody = Type.Object(
  {
    user: Type.String({ minLength: 1, maxLength: MAX_NAME_CHARS }),
    password: Type.String({ minLength: 1, maxLength: 1024 }),
  },
  { additionalProperties: false },
);

export function loginRoutes(api: Api, context: RouteContext): void {
  loginRoute(api, context);
  sessionRoutes(api, context);
}

function loginRoute(api: Api, { deps }: RouteContext): void {
  const refused = refusalLog(api, deps, { action: 'login', perAddress: 'refusedLoginsPerMinute' });

  api.post(
    '/api/v1/login',
    {
      config: { access: 'public', scope: 'none' },
      bodyLimit: MAX_LOGIN_BODY_BYTES,
      schema: {
        tags: ['session'],
        summary: 'Opens a session by user and password',
        description:
          'Sets the cookie `__Host-fairlead`. Requests by cookie that change anything need a header `x-csrf-token` ' +
          'with the csrfToken. Failed logins of one user from one address, and of one address, make the next ones wait.',
        body: LoginBody,
        response: { 200: SessionView },
      },
    },
    async (request, reply) => {
      requireHttps(request, deps);
      if (request.headers.origin !== undefined && !isOwnOrigin(request, deps)) {
        throw new FairleadError('FORBIDDEN', 'the login comes from a page of another origin');
      }
      try {
        const { secret, session } = await deps.logins.login({ ...request.body, address: request.ip });
        setSessionCookie(reply, secret);
        return sessionView(session);
      } catch (error) {
        if (error instanceof RefusedRequest) await refused(request, error.entry);
        throw error;
      }
    },
  );
}

function sessionRoutes(api: Api, { deps }: RouteContext): void {
  api.get(
    '/api/v1/session',
    {
      config: { access: 'viewer', scope: 'none' },
      schema: { tags: ['session'], summary: 'The session of the cookie', response: { 200: SessionView } },
    },
    async (request) => sessionView(deps.logins.session(ownSecret(request))),
  );

  api.post(
    '/api/v1/logout',
    {
      config: { access: 'viewer', scope: 'none' },
      schema: {
        tags: ['session'],
        summary: 'Ends the session of the cookie, and its open streams within a second',
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.logins.logout(ownSecret(request), request.ip);
      clearSessionCookie(reply);
      return reply.code(204).send(null);
    },
  );
}

/** @throws FairleadError NOT_FOUND if something else than the cookie says who asks */
function ownSecret(request: FastifyRequest): string {
  const secret = principalOf(request).tokenId.startsWith('login:') ? sessionSecret(request) : undefined;
  if (secret !== undefined) return secret;
  throw new FairleadError('NOT_FOUND', 'there is no session: the request came with a token or a client certificate');
}
