/** The containers of one host, in pages. */
import Type from 'typebox';
import { containerList } from '../../shared/messages/container.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { answerPage, type KeyOf, listSchema, sortKey } from './host-lists.ts';
import { HostParams } from './schemas.ts';

export const keyOf: KeyOf = ({ Created, Id }) => sortKey(Created, Id);

const all = Type.Optional(Type.Boolean({ description: 'Stopped containers, too' }));

export function containerListRoutes(api: Api, context: RouteContext): void {
  api.get(
    '/api/v1/hosts/:host/containers',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: "Lists a host's containers in Docker's own words",
        params: HostParams,
        ...listSchema({ all }),
      },
    },
    async (request, reply) => {
      const { all = false } = request.query;
      return await answerPage(context, request, reply, { kind: containerList, params: { all }, keyOf });
    },
  );
}
