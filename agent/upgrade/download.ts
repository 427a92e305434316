/** Brings the compressed executable of a release over the agent's own session: what is there already is not sent again. */
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { releaseRead } from '../../shared/messages/release.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { maxCompressedBytes, type Release } from '../../shared/releases/release.ts';
import { bytesOf, openAtEnd, type UpgradeDisk } from './files.ts';
import { SPARE_BYTES, STALL_MS, TURN_MS } from './limits.ts';

const MIB = 1024 * 1024;

export interface DownloadOptions {
  readonly session: Pick<Session, 'open'>;
  readonly release: Pick<Release, 'sha256' | 'bytes' | 'version'>;
  /** Where it goes: what stands there was downloaded for the same release. */
  readonly part: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress: (receivedBytes: number, totalBytes: number) => void;
  readonly disk: Pick<UpgradeDisk, 'free'>;
}

/**
 * Resolves once all of it is on the disk.
 * @throws FairleadError RELEASE_INVALID when there is more of it than its release can have, CONFLICT when the disk has no
 *   room, TIMEOUT when nothing comes any more, what the server resets the stream with, or the signal's reason
 */
export async function download(options: DownloadOptions): Promise<void> {
  const { session, release, part, clock } = options;
  const offset = (await bytesOf(part)) ?? 0;
  const stall = new AbortController();
  const signal = AbortSignal.any([options.signal, stall.signal]);
  const stalled = () => stall.abort(new FairleadError('TIMEOUT', 'the server sends nothing more of the release'));
  let timer: Timer = clock.setTimeout(stalled, TURN_MS);
  const alive = () => {
    timer.cancel();
    timer = clock.setTimeout(stalled, STALL_MS);
  };
  try {
    const stream = session.open(releaseRead, { sha256: release.sha256, offset }, { signal });
    const { totalBytes } = await stream.reply;
    alive();
    await checkTotal(options, offset, totalBytes);
    const file = await openAtEnd(part);
    try {
      await receive(stream, file, { ...options, offset, totalBytes, alive });
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : ofDisk(error, dirname(part));
  } finally {
    timer.cancel();
  }
}

async function checkTotal(options: DownloadOptions, offset: number, totalBytes: number): Promise<void> {
  const { release, part, disk } = options;
  if (totalBytes > maxCompressedBytes(release.bytes) || offset > totalBytes) {
    const text = `its file has ${totalBytes} bytes, which a release of ${release.bytes} bytes with ${offset} here cannot have`;
    throw new FairleadError('RELEASE_INVALID', text);
  }
  const needed = totalBytes - offset + release.bytes + SPARE_BYTES;
  const available = await disk.free(dirname(part));
  if (available >= needed) return;
  const room = `${Math.floor(available / MIB)} MiB are free, and ${Math.ceil(needed / MIB)} MiB are needed`;
  throw new FairleadError('CONFLICT', `too little space in ${dirname(part)}: ${room}`);
}

async function receive(
  stream: MuxStream<typeof releaseRead>,
  file: FileHandle,
  to: DownloadOptions & { offset: number; totalBytes: number; alive: () => void },
): Promise<void> {
  const { offset, totalBytes, alive, onProgress } = to;
  let received = offset;
  onProgress(received, totalBytes);
  for await (const chunk of stream.bytes as AsyncIterable<Buffer>) {
    received += chunk.byteLength;
    if (received > totalBytes)
      throw new FairleadError('RELEASE_INVALID', `more came than the ${totalBytes} bytes it has`);
    await file.writeFile(chunk);
    alive();
    onProgress(received, totalBytes);
  }
  if (received < totalBytes) {
    throw new FairleadError('STREAM_INTERRUPTED', `${received} of ${totalBytes} bytes came before the end`);
  }
}

/** What writing a file failed with, as something a person can act on. */
export function ofDisk(error: unknown, directory: string): unknown {
  if (error instanceof FairleadError || !(error instanceof Error) || !('code' in error)) return error;
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT' || error.code === 'EFBIG') {
    return new FairleadError('CONFLICT', `the disk under ${directory} is full: free some space`, { cause: error });
  }
  return new FairleadError('CONFLICT', `${directory} cannot be written (${String(error.code)})`, { cause: error });
}
