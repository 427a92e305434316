/** Hosts of Hawser whose agent gives way to one of Fairlead's. */
import Type from 'typebox';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { CreatedEnrollmentToken, createdEnrollmentToken, TtlSeconds } from './enrollment-tokens.ts';
import { HostParams, Instant, NoContent, Text } from './schemas.ts';
import { instantOrNull } from './views.ts';

const PATH = '/api/v1/hosts/:host/adoption';

const Offer = Type.Union([
  Type.Object({ ttlSeconds: Type.Optional(TtlSeconds) }, { additionalProperties: false }),
  Type.Null(),
]);
const Offered = Type.Object({ ...CreatedEnrollmentToken.properties, hostId: Text, hostName: Text });

export const AdoptionView = Type.Object({
  hostId: Text,
  hostName: Text,
  state: Type.Union(
    [
      Type.Literal('none'),
      Type.Literal('offered'),
      Type.Literal('enrolled'),
      Type.Literal('trying'),
      Type.Literal('done'),
    ],
    {
      description:
        'offered: a token waits; enrolled: the new agent is not connected; trying: it is, and has not shown that it works',
    },
  ),
  tokenId: Type.Union([Text, Type.Null()], { description: 'Of the enrollment token that was made last' }),
  expiresAt: Type.Union([Instant, Type.Null()], { description: 'When that can be used no longer' }),
  why: Type.Union([Text, Type.Null()], { description: 'Why the new agent does not serve the host yet' }),
});
export type AdoptionView = Type.Static<typeof AdoptionView>;

export function adoptionRoutes(api: Api, { deps }: RouteContext): void {
  const { adoption } = deps.hawser;
  const common = { config: { access: 'admin', scope: 'host' } } as const;

  api.post(
    PATH,
    {
      ...common,
      schema: {
        tags: ['hawser'],
        summary: 'Hands out a token by which fairlead-agent takes a host of Hawser over',
        description:
          'The host stays the one that it is. Its agent of Hawser serves it until the new one works; then its tokens end.',
        params: HostParams,
        body: Offer,
        response: { 201: Offered },
      },
    },
    async (request, reply) => {
      const made = await adoption.offer(request.params.host, request.body ?? {}, actorOf(request));
      const { hostId, hostName } = made;
      return reply.code(201).send({ ...(await createdEnrollmentToken(deps, made)), hostId, hostName });
    },
  );

  api.get(
    PATH,
    {
      ...common,
      schema: {
        tags: ['hawser'],
        summary: 'Says how far fairlead-agent is with taking a host over',
        params: HostParams,
        response: { 200: AdoptionView },
      },
    },
    async ({ params }) => {
      const { tokenId = null, expiresAt, why = null, ...rest } = await adoption.look(params.host);
      return { ...rest, tokenId, expiresAt: instantOrNull(expiresAt), why };
    },
  );

  api.delete(
    PATH,
    {
      ...common,
      schema: {
        tags: ['hawser'],
        summary: 'Takes back what was handed out for taking a host over, while that has not happened',
        params: HostParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await adoption.cancel(request.params.host, actorOf(request));
      return reply.code(204).send(null);
    },
  );
}
