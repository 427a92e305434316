/** The route to a container's own process: a WebSocket as that of an exec, whose end leaves the container running. */
import Type from 'typebox';
import { containerAttach } from '../../shared/messages/container-streams.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import { becomeSocket } from './become-socket.ts';
import type { RouteContext } from './context.ts';
import { ContainerParams } from './schemas.ts';
import { runTerminal } from './terminal-socket.ts';

const { cols, rows } = containerAttach.signal.properties.resize.properties;
const flag = (description: string) => Type.Optional(Type.Boolean({ description }));

const AttachQuery = Type.Object(
  {
    cols: Type.Optional(cols),
    rows: Type.Optional(rows),
    stdin: flag('0: what is typed does not go to the process'),
    logs: flag('With all that it has said before'),
    separate: flag('Without a terminal: one byte, 1 for stdout or 2 for stderr, before each output frame'),
  },
  { additionalProperties: false },
);

export function attachRoute(api: Api, context: RouteContext): void {
  api.get(
    '/api/v1/hosts/:host/containers/:container/attach',
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: "Attaches to a container's own process (WebSocket)",
        description:
          'Messages as those of exec. `{exit: {code}}` comes when the process ends; `{detached: true}` when Docker lets go ' +
          'of one that runs on, by the keys for that. A client that leaves leaves it running.',
        params: ContainerParams,
        querystring: AttachQuery,
      },
    },
    async (request, reply) => {
      const { deps, links } = context;
      const { host, container } = request.params;
      const { cols, rows, separate = false, ...rest } = request.query;
      const size = cols === undefined || rows === undefined ? {} : { size: { cols, rows } };
      const facts = { action: containerAttach.name, target: `${host}/${container}`, detail: rest, isStrict: true };
      return await becomeSocket(context, request, reply, {
        what: 'attachment',
        open: ({ signal }) =>
          audited(deps, request, facts, async () => {
            const link = await links.to(request, host, facts);
            return await link.open(containerAttach, { id: container, ...size, ...rest }, { signal });
          }),
        run: ({ webSocket, stream: process, live }) =>
          runTerminal({ webSocket, process, live, clock: deps.clock, separate, what: 'attachment' }),
      });
    },
  );
}
