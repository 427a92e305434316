/** The exec route: asks the host first, so that every refusal is an HTTP answer, and only then becomes a WebSocket. */
import Type, { type Static } from 'typebox';
import { containerExecOpen } from '../../shared/messages/container.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import { becomeSocket } from './become-socket.ts';
import type { RouteContext } from './context.ts';
import { ContainerParams } from './schemas.ts';
import { runTerminal } from './terminal-socket.ts';

const { cmd, user, workdir, env } = containerExecOpen.params.properties;
const { cols, rows } = containerExecOpen.signal.properties.resize.properties;
const flag = (description: string) => Type.Optional(Type.Boolean({ description }));

const ExecQuery = Type.Object(
  {
    cmd,
    tty: flag('With a terminal'),
    cols: Type.Optional(cols),
    rows: Type.Optional(rows),
    user,
    workdir,
    env,
    stdin: flag('0: the process finds its standard input at its end'),
    separate: flag('Without a terminal: one byte, 1 for stdout or 2 for stderr, before each output frame'),
  },
  { additionalProperties: false },
);

export function execRoute(api: Api, context: RouteContext): void {
  api.get(
    '/api/v1/hosts/:host/containers/:container/exec',
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: 'Runs a command in a container (WebSocket)',
        description:
          'Binary messages are bytes: in to its standard input, out from its output. Text messages are JSON: in ' +
          '`{resize: {cols, rows}}` and `{end: true}` (the end of its input), out `{exit: {code}}` before the close, or ' +
          '`{error: {code, detail}}` before a close with 1011, or with 4000 plus an HTTP status for what the caller can ' +
          'mend. `cmd` and `env` repeat, one per argument.',
        params: ContainerParams,
        querystring: ExecQuery,
      },
    },
    async (request, reply) => {
      const { deps, links } = context;
      const { host, container } = request.params;
      const params = execParams(container, request.query);
      const user = params.user === undefined ? {} : { user: params.user };
      const detail = { cmd: params.cmd, tty: params.tty, ...user };
      const action = { action: 'container.exec', target: `${host}/${container}`, detail, isStrict: true };
      const separate = request.query.separate ?? false;
      return await becomeSocket(context, request, reply, {
        what: 'exec',
        open: ({ signal }) =>
          audited(deps, request, action, async () => {
            const link = await links.to(request, host, action);
            return await link.open(containerExecOpen, params, { signal });
          }),
        run: ({ webSocket, stream: process, live }) =>
          runTerminal({ webSocket, process, live, clock: deps.clock, separate, what: 'exec' }),
      });
    },
  );
}

function execParams(id: string, query: Static<typeof ExecQuery>): Static<typeof containerExecOpen.params> {
  const { tty = false, stdin = true, cols, rows, separate: _, ...rest } = query;
  const size = cols === undefined || rows === undefined ? {} : { size: { cols, rows } };
  return { id, ...rest, tty, stdin, ...size };
}
