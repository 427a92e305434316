/**
 * Tars into hosts whose agent listens, as they come: it has 30 s for each, its body included, and what it cuts off it does
 * not call done.
 */
import { PassThrough } from 'node:stream';
import { dockerPath } from '../../../shared/docker/call.ts';
import { loadedIn } from '../../../shared/docker/progress.ts';
import { sendAndRead } from '../../../shared/docker/upload.ts';
import type { containerArchivePut } from '../../../shared/messages/container-streams.ts';
import type { imageLoad } from '../../../shared/messages/image-streams.ts';
import type { OpenOptions } from '../../hosts/host-link.ts';
import { hawserStream } from '../hawser-stream.ts';
import { HeldBytes } from '../held-bytes.ts';
import type { ServeStandard, StandardContext } from './kind.ts';

export const serveArchivePut: ServeStandard<typeof containerArchivePut> = async (context, params, options) => {
  const { id, path, noOverwriteDirNonDir = false, copyUidGid = false } = params;
  const query = new URLSearchParams({
    path,
    ...(noOverwriteDirNonDir ? { noOverwriteDirNonDir: '1' } : {}),
    ...(copyUidGid ? { copyUIDGID: '1' } : {}),
  });
  await upload(context, 'PUT', `${dockerPath`/containers/${id}/archive`}?${query}`, options);
  return hawserStream<typeof containerArchivePut>({ reply: {}, bytes: over() });
};

export const serveImageLoad: ServeStandard<typeof imageLoad> = async (context, _params, options) => {
  const text = await upload(context, 'POST', '/images/load?quiet=1', options);
  return hawserStream<typeof imageLoad>({ reply: { loaded: loadedIn(text) }, bytes: over() });
};

/** @returns Docker's whole answer. @throws FairleadError what Docker refuses, TIMEOUT, STREAM_INTERRUPTED, … */
async function upload(
  { transport }: StandardContext,
  method: 'PUT' | 'POST',
  target: string,
  { feed, signal = new AbortController().signal }: OpenOptions,
): Promise<string> {
  const source = new PassThrough();
  source.on('error', () => undefined);
  const begun = transport.begin({ method, target, headers: [['Content-Type', 'application/x-tar']], body: 'chunked' });
  try {
    feed?.(source);
    return await sendAndRead({ ...begun, answer: transport.head(begun) }, source, signal);
  } finally {
    begun.destroy();
    // What was not wanted of it goes nowhere.
    source.resume();
  }
}

function over(): HeldBytes {
  const bytes = HeldBytes.none();
  bytes.resume();
  return bytes;
}
