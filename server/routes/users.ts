/** Users who may log in by password. */
import Type from 'typebox';
import { Tags } from '../../shared/messages/control.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { HostRefs, NoContent, PageQuery, pageOf, RoleName, UserName, UserView } from './schemas.ts';
import { pageRequest, pageView, userView } from './views.ts';

const Password = Type.String({ minLength: 1, maxLength: 1024, description: '12 characters to 1024 bytes' });
const NewUser = Type.Object(
  {
    name: UserName,
    role: RoleName,
    password: Password,
    hosts: Type.Optional(HostRefs),
    tags: Type.Optional(Tags),
  },
  { additionalProperties: false },
);
const NewPassword = Type.Object({ password: Password }, { additionalProperties: false });
const UserParams = Type.Object({ user: UserName }, { additionalProperties: false });

export function userRoutes(api: Api, { deps }: RouteContext): void {
  api.post(
    '/api/v1/users',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['users'],
        summary: 'Adds a user who may log in by password',
        body: NewUser,
        response: { 201: UserView },
      },
    },
    async (request, reply) => {
      return reply.code(201).send(userView(await deps.users.create(request.body, actorOf(request))));
    },
  );

  api.get(
    '/api/v1/users',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['users'],
        summary: 'Lists users by name',
        querystring: PageQuery,
        response: { 200: pageOf(UserView) },
      },
    },
    async ({ query }) => pageView(await deps.users.list(pageRequest(query)), userView),
  );

  api.put(
    '/api/v1/users/:user/password',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['users'],
        summary: "Sets a user's password and ends the user's sessions",
        params: UserParams,
        body: NewPassword,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.users.setPassword(request.params.user, request.body.password, actorOf(request));
      return reply.code(204).send(null);
    },
  );

  api.delete(
    '/api/v1/users/:user',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['users'],
        summary: 'Removes a user; open sessions and their streams end within a second',
        params: UserParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.users.remove(request.params.user, actorOf(request));
      return reply.code(204).send(null);
    },
  );
}
