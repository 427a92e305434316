/** Tars out of hosts of Hawser, and images into them: by what Docker says before, and what it says last. */
import { answerFailure } from '../../shared/docker/answer-failure.ts';
import { dockerPath, imagePath } from '../../shared/docker/call.ts';
import { jsonLines } from '../../shared/docker/json.ts';
import { failureIn, MAX_RECORD_BYTES, NOT_THERE, pullQuery } from '../../shared/docker/progress.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { containerArchiveGet } from '../../shared/messages/container-streams.ts';
import type { imagePull, imageSave } from '../../shared/messages/image-streams.ts';
import type { Params } from '../../shared/messages/kind.ts';
import { hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import type { ServeKind } from './kind.ts';
import { refuseBy, requireWholeTar } from './refusal-stream.ts';
import type { HawserTransport } from './transport.ts';
import { json } from './unary.ts';

const STAT_HEADER = 'x-docker-container-path-stat';

export const serveArchiveGet: ServeKind<typeof containerArchiveGet> = async (
  context,
  params,
  { signal, timeoutMs },
) => {
  const { id, path, statOnly = false } = params;
  const target = `${dockerPath`/containers/${id}/archive`}?${new URLSearchParams({ path })}`;
  const head = await context.ask({ method: 'HEAD', path: target }, { signal, timeoutMs });
  if (head.status >= 400) {
    // A refusal of HEAD has no words.
    const { status, body } = await context.ask({ method: 'GET', path: target }, { signal, timeoutMs });
    throw answerFailure(Math.max(status, 400), body.toString('utf8'));
  }
  const [, stat = ''] = Object.entries(head.headers).find(([name]) => name.toLowerCase() === STAT_HEADER) ?? [];
  const bytes = statOnly ? HeldBytes.none() : context.transport.stream({ method: 'GET', path: target });
  if (!statOnly) requireWholeTar(bytes);
  return hawserStream<typeof containerArchiveGet>({ reply: { stat }, bytes, signal });
};

export const serveImageSave: ServeKind<typeof imageSave> = async (context, { references }, { signal, timeoutMs }) => {
  for (const name of references) {
    await json(context, { method: 'GET', path: imagePath(name, '/json') }, { signal, timeoutMs });
  }
  const names = new URLSearchParams(references.map((name) => ['names', name]));
  const bytes = context.transport.stream({ method: 'GET', path: `/images/get?${names}` });
  requireWholeTar(bytes);
  return hawserStream<typeof imageSave>({ reply: {}, bytes, signal });
};

export const serveImagePull: ServeKind<typeof imagePull> = async (context, params, { signal }) => {
  const bytes = pullStream(context.transport, params);
  const onAbort = () => bytes.destroy(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const records = jsonLines(bytes, MAX_RECORD_BYTES);
    // What fails before there is anything to tell is an answer; what fails later ends the stream.
    const first = await nextOf(records);
    return hawserStream<typeof imagePull>({
      reply: {},
      bytes,
      async *items() {
        for (let record = first; record !== undefined; record = await nextOf(records)) yield record;
      },
      signal,
    });
  } catch (error) {
    bytes.destroy();
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
};

/** What Docker says while it pulls an image, which has no end of time. @throws FairleadError HOST_OFFLINE, OVERLOADED */
function pullStream(
  transport: HawserTransport,
  { reference, platform, auth }: Omit<Params<typeof imagePull>, 'idempotencyKey'>,
): HeldBytes {
  const headers = auth === undefined ? {} : { 'X-Registry-Auth': auth };
  const bytes = transport.stream({ method: 'POST', path: `/images/create?${pullQuery(reference, platform)}`, headers });
  refuseBy(bytes);
  return bytes;
}

/**
 * Pulls an image to the end.
 * @throws FairleadError NOT_FOUND, DOCKER_ERROR, STREAM_INTERRUPTED, the reason of `signal`
 */
export async function pullImage(
  transport: HawserTransport,
  image: { readonly reference: string; readonly platform: string | undefined },
  { signal, onRecord }: { readonly signal: AbortSignal; onRecord(record: Record<string, unknown>): void },
): Promise<void> {
  signal.throwIfAborted();
  const { platform, ...named } = image;
  const bytes = pullStream(transport, platform === undefined ? named : (image as Params<typeof imagePull>));
  const onAbort = () => bytes.destroy(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const records = jsonLines(bytes, MAX_RECORD_BYTES);
    for (let next = await nextOf(records); next !== undefined; next = await nextOf(records)) onRecord(next);
  } finally {
    signal.removeEventListener('abort', onAbort);
    bytes.destroy();
  }
}

/** The next record. @throws FairleadError for one that says that the pull has failed */
async function nextOf(records: AsyncGenerator<Record<string, unknown>>): Promise<Record<string, unknown> | undefined> {
  const { value, done } = await records.next();
  if (done === true) return undefined;
  const failure = failureIn(value);
  if (failure === undefined) return value;
  throw NOT_THERE.test(failure.message) ? new FairleadError('NOT_FOUND', failure.message) : failure;
}
