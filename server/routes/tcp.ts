/** The route to a port of a container, or of a host: connected first, so that every refusal is an HTTP answer; then a WebSocket. */
import Type from 'typebox';
import { ContainerRef } from '../../shared/messages/container.ts';
import { Port, tcpOpen } from '../../shared/messages/tcp.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import { TCP_CONNECTIONS } from './limits.ts';
import { clientGone } from './live-streams.ts';
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

export function tcpRoute(api: Api, { deps, links, live, webSockets }: RouteContext): void {
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
      webSockets.check(request);
      const { host } = request.params;
      const { query } = request;
      const stream = live.beginFor(reply.raw, principalOf(request));
      let release: (() => void) | undefined;
      try {
        const { container, port } = query;
        const target = container === undefined ? `${host}:${port}` : `${host}/${container}:${port}`;
        const action = { action: tcpOpen.name, target, detail: { ...query }, isStrict: true };
        const connection = await audited(deps, request, action, async () => {
          const link = await links.to(request, host, action);
          release = slots.take(link.hostId);
          return await link.open(tcpOpen, query, { signal: stream.signal });
        });
        connection.bytes.on('error', (error) => request.log.debug({ err: error }, 'a connection was interrupted'));
        const webSocket = await webSockets.accept(request, reply);
        // Fastify counts answers; an upgrade is none that it sees.
        deps.metrics.httpRequest('GET', request.routeOptions.url ?? '', 101);
        const options = { webSocket, stream: connection, live: stream, clock: deps.clock, what: 'connection' };
        const failure = await runSocket(options, passBoth);
        if (failure !== undefined) request.log.debug({ err: failure }, 'a connection ended early');
      } catch (error) {
        // Nobody is left to talk to what was connected to, if it was.
        stream.end(clientGone());
        throw error;
      } finally {
        stream.release();
        release?.();
      }
      return reply;
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
