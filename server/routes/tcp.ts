/** The route to a port of a container, or of a host: connected first, so that every refusal is an HTTP answer; then a WebSocket. */
import Type from 'typebox';
import { ContainerRef } from '../../shared/messages/container.ts';
import { Port, tcpOpen } from '../../shared/messages/tcp.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import { becomeSocket } from './become-socket.ts';
import type { RouteContext } from './context.ts';
import { TCP_CONNECTIONS } from './limits.ts';
import { HostParams } from './schemas.ts';
import { Slots } from './slots.ts';
import { runSocket, type SocketEnds } from './socket-run.ts';

const TcpQuery = Type.Object(
  {
    container: Type.Optional(ContainerRef),
    port: Port,
  },
  { additionalProperties: false },
);

export function tcpRoute(api: Api, context: RouteContext): void {
  const { deps, links } = context;
  const slots = new Slots('connections to ports', TCP_CONNECTIONS);
  api.get(
    '/api/v1/hosts/:host/tcp',
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['hosts'],
        summary: 'Connects to a port of a container, or of the host itself (WebSocket)',
        description:
          "Off unless the host's policy names what may be reached. Without `container` the port is one of the host, at " +
          '127.0.0.1. Binary messages are bytes, both ways. The text message `{end: true}` ends a half of the connection, ' +
          'both ways as well; once both have ended the close is 1000. A connection that breaks off is told by ' +
          '`{error: {code, detail}}` before a close with 1011, or with 4000 plus an HTTP status.',
        params: HostParams,
        querystring: TcpQuery,
      },
    },
    async (request, reply) => {
      const { host } = request.params;
      const { container, port } = request.query;
      const target = container === undefined ? `${host}:${port}` : `${host}/${container}:${port}`;
      const action = { action: tcpOpen.name, target, detail: { ...request.query }, isStrict: true };
      let release: (() => void) | undefined;
      try {
        return await becomeSocket(context, request, reply, {
          what: 'connection',
          open: ({ signal }) =>
            audited(deps, request, action, async () => {
              const link = await links.to(request, host, action);
              release = slots.take(link.hostId);
              return await link.open(tcpOpen, request.query, { signal });
            }),
          run: ({ webSocket, stream, live }) =>
            runSocket({ webSocket, stream, live, clock: deps.clock, what: 'connection' }, passBoth),
        });
      } finally {
        release?.();
      }
    },
  );
}

/** Passes bytes on both ways, and the end of each. */
async function passBoth(ends: SocketEnds): Promise<void> {
  const input = ends.receiveInput({ onControl: () => false, help: 'a text message must be {"end":true}' });
  await ends.sendOutput();
  await ends.sendControl({ end: true });
  await input.ended;
}
