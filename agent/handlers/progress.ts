/** What Docker says of long work, record by record: how far it is, and in the middle of a good answer that it failed. */
import type { IncomingMessage } from 'node:http';
import type { HeaderPair } from '../../shared/docker/headers.ts';
import { jsonLines } from '../../shared/docker/json.ts';
import { failureIn, MAX_RECORD_BYTES, NOT_THERE, pullQuery } from '../../shared/docker/progress.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { imagePull } from '../../shared/messages/image-streams.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { withAnswer } from './answer.ts';
import type { Handler } from './handler.ts';

/** A registry may take its time before there is anything to tell. */
const PULL_HEAD_MS = 600_000;

export const handleImagePull: Handler<typeof imagePull> = async (stream, { docker }) => {
  const { reference, platform, auth } = stream.params;
  const headers: HeaderPair[] = auth === undefined ? [] : [['X-Registry-Auth', auth]];
  const asked = {
    method: 'POST',
    target: `/images/create?${pullQuery(reference, platform)}`,
    headers,
    headMs: PULL_HEAD_MS,
  } as const;
  try {
    await withAnswer(stream, docker, asked, ({ body }) => passOn(stream, body));
  } catch (error) {
    // Docker has no status of its own for what the registry does not have.
    const isMissing = isFairleadError(error, 'DOCKER_ERROR') && NOT_THERE.test(error.message);
    throw isMissing ? new FairleadError('NOT_FOUND', error.message, { cause: error }) : error;
  }
  stream.finish();
};

/** Sends Docker's records on. @throws FairleadError for the one that says that the work has failed */
async function passOn(stream: MuxStream<typeof imagePull>, body: IncomingMessage): Promise<void> {
  let isBegun = false;
  for await (const record of jsonLines(body, MAX_RECORD_BYTES)) {
    const failure = failureIn(record);
    if (failure !== undefined) throw failure;
    if (!isBegun) stream.sendReply({});
    isBegun = true;
    await stream.sendItem(record);
  }
  if (!isBegun) stream.sendReply({});
}
