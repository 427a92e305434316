/** Handlers of docker.request and docker.upgrade: a client's own exchange with Docker's API, passed through as it is. */
import type { dockerRequest, dockerUpgrade } from '../../shared/messages/docker.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { type ExchangeClient, runRequest, runUpgrade } from '../docker/client-exchange.ts';
import type { Handler } from './handler.ts';

type DockerStream = MuxStream<typeof dockerRequest> | MuxStream<typeof dockerUpgrade>;

export const handleDockerRequest: Handler<typeof dockerRequest> = async (stream, context) => {
  await runRequest(clientOf(stream), stream.params.body, context);
};

export const handleDockerUpgrade: Handler<typeof dockerUpgrade> = async (stream, context) => {
  const { body, protocol } = stream.params;
  await runUpgrade(clientOf(stream), { protocol, body: Buffer.from(body, 'utf8') }, context);
};

function clientOf(stream: DockerStream): ExchangeClient {
  const { kind, params, bytes, aborted } = stream;
  const { method, target, headers } = params;
  return {
    ...{ kind, request: { method, target, headers }, source: bytes, sink: bytes, aborted },
    sendReply: (head) => stream.sendReply(head),
    finish: (trailers) => stream.finish({ headers: trailers }),
  };
}
