/** Enrollment tokens: each lets one host join. */
import Type from 'typebox';
import { Tags } from '../../shared/messages/control.ts';
import { DEFAULT_TOKEN_TTL_SECONDS, MAX_TOKEN_TTL_SECONDS, MIN_TOKEN_TTL_SECONDS } from '../enrollment/enrollment.ts';
import { shellWord } from '../shell-word.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext, RouteDeps } from './context.ts';
import type { Time } from './deps/rows.ts';
import { EnrollmentTokenView, HostName, IdParams, Instant, Label, NoContent, PageQuery, pageOf } from './schemas.ts';
import { enrollmentTokenView, instant, pageRequest, pageView } from './views.ts';

export const TtlSeconds = Type.Integer({
  minimum: MIN_TOKEN_TTL_SECONDS,
  maximum: MAX_TOKEN_TTL_SECONDS,
  description: `${DEFAULT_TOKEN_TTL_SECONDS} unless given`,
});
const NewToken = Type.Object(
  {
    name: Type.Optional(Label),
    ttlSeconds: Type.Optional(TtlSeconds),
    hostName: Type.Optional(HostName),
    tags: Type.Optional(Tags),
  },
  { additionalProperties: false },
);
/** A token that was just made, and what to do with it. */
export const CreatedEnrollmentToken = Type.Object({
  id: Type.String(),
  token: Type.String({ description: 'Shown this once' }),
  expiresAt: Instant,
  caFingerprint: Type.String(),
  enrollCommand: Type.String({
    description: 'For a shell: enrolls the machine it is run on, where the agent is installed; the token goes by stdin',
  }),
  installCommand: Type.String({
    description: 'For a shell: installs the agent on the machine it is run on, enrolls it and starts the agent',
  }),
});

/** @param deps say where this server is */
export async function createdEnrollmentToken(
  deps: Pick<RouteDeps, 'urls' | 'authority' | 'installScript'>,
  made: { readonly id: string; readonly token: string; readonly expiresAt: Time },
): Promise<Type.Static<typeof CreatedEnrollmentToken>> {
  return {
    id: made.id,
    token: made.token,
    expiresAt: instant(made.expiresAt),
    caFingerprint: deps.authority.caFingerprint,
    // Every user of a machine can read the command lines on it; `echo` is the shell itself.
    enrollCommand: `echo ${made.token} | fairlead-agent enroll --server ${shellWord(deps.urls().apiUrl)} --token -`,
    installCommand: await deps.installScript.command(made.token),
  };
}

export function enrollmentTokenRoutes(api: Api, { deps }: RouteContext): void {
  api.post(
    '/api/v1/enrollment-tokens',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['enrollment'],
        summary: 'Makes an enrollment token',
        body: Type.Union([NewToken, Type.Null()]),
        response: { 201: CreatedEnrollmentToken },
      },
    },
    async (request, reply) => {
      const made = await deps.enrollment.createToken(request.body ?? {}, actorOf(request));
      return reply.code(201).send(await createdEnrollmentToken(deps, made));
    },
  );

  api.get(
    '/api/v1/enrollment-tokens',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['enrollment'],
        summary: 'Lists enrollment tokens, without their secrets',
        querystring: PageQuery,
        response: { 200: pageOf(EnrollmentTokenView) },
      },
    },
    async ({ query }) => pageView(await deps.enrollment.list(pageRequest(query)), enrollmentTokenView),
  );

  api.delete(
    '/api/v1/enrollment-tokens/:id',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['enrollment'],
        summary: 'Revokes an enrollment token',
        params: IdParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.enrollment.revoke(request.params.id, actorOf(request));
      return reply.code(204).send(null);
    },
  );
}
