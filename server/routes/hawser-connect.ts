/** Where agents of Hawser connect, by WebSocket and the token in their hello; and who is connected. */
import Type from 'typebox';
import { HAWSER_PROTOCOL } from '../../shared/hawser/messages.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { HAWSER_SOCKET } from './hawser-path.ts';
import { hawserIsOff } from './hawser-tokens.ts';
import { Instant, Text } from './schemas.ts';
import { instant } from './views.ts';

const Status = Type.Object({
  status: Type.Union([Type.Literal('ready'), Type.Literal('off')]),
  message: Text,
  protocol: Text,
  activeConnections: Type.Integer({ minimum: 0 }),
  connections: Type.Array(
    Type.Object({
      hostId: Text,
      host: Text,
      agentId: Text,
      agentName: Text,
      agentVersion: Text,
      address: Text,
      connectedAt: Instant,
    }),
  ),
});

export function hawserConnectRoutes(api: Api, { deps, hawserSockets, keepPlace }: RouteContext): void {
  const { edge } = deps.hawser;
  api.get(
    '/api/hawser/connect',
    {
      config: { access: 'viewer', scope: 'installation' },
      schema: {
        tags: ['hawser'],
        summary: 'Says which agents of Hawser are connected',
        description: 'To a WebSocket, this is where agents connect: without a bearer, since their hello has a token.',
        response: { 200: Status },
      },
    },
    async () => {
      const connections = edge?.connections() ?? [];
      return {
        status: edge === undefined ? ('off' as const) : ('ready' as const),
        message: edge === undefined ? hawserIsOff().message : 'agents of Hawser may connect here by WebSocket',
        protocol: HAWSER_PROTOCOL,
        activeConnections: connections.length,
        connections: connections.map(
          ({ hostId, hostName, agentId, agentName, agentVersion, address, connectedAt }) => ({
            ...{ hostId, agentId, agentName, agentVersion, address },
            host: hostName,
            connectedAt: instant(connectedAt),
          }),
        ),
      };
    },
  );

  api.get(
    HAWSER_SOCKET,
    {
      config: { access: 'public', scope: 'none' },
      schema: {
        tags: ['hawser'],
        summary: 'Where agents of Hawser connect (WebSocket); so does /api/hawser/connect',
        description: 'The first message must be a hello, within 10 s; its token is checked then.',
      },
    },
    async (request, reply) => {
      if (edge === undefined) throw hawserIsOff();
      hawserSockets.check(request);
      const { webSocket: ws, socket } = await hawserSockets.take(request, reply);
      // Fastify counts answers; an upgrade is none that it sees.
      deps.metrics.httpRequest('GET', request.routeOptions.url ?? '', 101);
      const onWelcome = (hostId: string) => keepPlace(request.raw.socket, `hawser:${hostId}`);
      await edge.accept({ ws, socket, address: request.ip, onWelcome });
      return reply;
    },
  );
}
