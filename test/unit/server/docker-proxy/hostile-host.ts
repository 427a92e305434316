/** A stream as a host's agent answers it, which may be hostile: what it says fits the schema of the wire and nothing more. */
import { PassThrough } from 'node:stream';
import type { DockerStream } from '../../../../server/docker-proxy/answer.ts';
import type { HeaderPair } from '../../../../shared/docker/headers.ts';
import { dockerRequest } from '../../../../shared/messages/docker.ts';
import { validate } from '../../../../shared/validate.ts';

export interface HostStream {
  readonly stream: DockerStream;
  /** The body of the answer. */
  readonly bytes: PassThrough;
  readonly trailer: PromiseWithResolvers<{ headers: HeaderPair[] }>;
}

/** @param reply what differs from an answer with 200 and no headers */
export function hostStream(reply: Partial<DockerStream['reply']> = {}): HostStream {
  const bytes = new PassThrough();
  const trailer = Promise.withResolvers<{ headers: HeaderPair[] }>();
  trailer.promise.catch(() => undefined);
  const whole = { status: 200, reason: 'OK', headers: [], upgraded: false, ...reply };
  const stream = {
    reply: validate(dockerRequest.reply, whole, 'the reply', 'MESSAGE_INVALID'),
    bytes,
    trailer: trailer.promise,
  };
  return { stream: stream as unknown as DockerStream, bytes, trailer };
}
