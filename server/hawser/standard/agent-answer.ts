/** What a dialled agent answers by itself, where Docker was asked. */
import type { IncomingMessage } from 'node:http';
import { readText } from '../../../shared/docker/json.ts';
import type { RawAnswer } from '../../../shared/docker/raw-exchange.ts';
import { FairleadError } from '../../../shared/errors.ts';
import { MAX_REFUSAL_BYTES } from './limits.ts';

/** @throws FairleadError DOCKER_ERROR for a connection that was handed over unasked */
export function bodyOf({ body, connection }: RawAnswer): IncomingMessage {
  if (body !== undefined) return body;
  connection?.sink.destroy();
  throw new FairleadError('DOCKER_ERROR', 'the agent handed over the connection unasked');
}

/** The agent does not want what it is shown, or nothing for a while: it is not to be asked again soon. */
export class RefusedByAgent extends FairleadError {}

/** Fails what the agent itself has answered: plain text, where Docker's refusals are JSON. */
export async function refuseAgent({ status, headers, body }: RawAnswer): Promise<void> {
  const type = headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1] ?? '';
  if (body === undefined || !/^text\/plain\b/i.test(type) || ![401, 429, 502, 503, 504].includes(status)) return;
  if (status === 401) {
    body.destroy();
    const why =
      'the agent of Hawser does not accept the token that is stored for this host: `fairlead hawser set` changes it';
    throw new RefusedByAgent('HOST_OFFLINE', why);
  }
  if (status === 429) {
    body.destroy();
    const why = 'the agent of Hawser takes no requests for a minute: it was shown too many wrong tokens';
    throw new RefusedByAgent('OVERLOADED', why, { retryAfterSeconds: 60 });
  }
  const text = (await readText(body, MAX_REFUSAL_BYTES)).replace(/\p{Cc}+/gu, ' ').slice(0, 500);
  if (/deadline exceeded|Client\.Timeout|timeout awaiting/i.test(text))
    throw new FairleadError('TIMEOUT', 'Docker did not answer within the 30 s that an agent of Hawser waits');
  throw new FairleadError('DOCKER_UNREACHABLE', `the agent of Hawser says: ${text}`);
}
