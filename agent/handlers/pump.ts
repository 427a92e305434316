/** Bytes from one stream into another, as fast as the other takes them. */
import type { Readable, Writable } from 'node:stream';
import { FairleadError } from '../../shared/errors.ts';

/**
 * Copies `source` into `sink` until it ends. Unlike `stream.pipeline` it neither ends nor destroys either of them: the
 * caller knows what an error means, and which code to reset the other end with.
 * Rejects with the error of the one that fails, and with the signal's reason as soon as it is aborted.
 */
export function pump(source: Readable, sink: Writable, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let settled = false;
    const settle = (error?: unknown) => {
      if (settled) return;
      settled = true;
      source.off('data', onData).off('end', onEnd).off('close', onClose).pause();
      sink.off('drain', onDrain).off('close', onSinkClose);
      signal.removeEventListener('abort', onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onData = (chunk: Buffer) => {
      if (!sink.write(chunk)) source.pause();
    };
    const onDrain = () => source.resume();
    const onEnd = () => settle();
    const onClose = () => settle(source.errored ?? broken('it was closed before its end'));
    const onSinkClose = () => settle(sink.errored ?? broken('its reader is gone'));
    const onAbort = () => settle(signal.reason);
    // These two stay: either may fail later, when nobody else listens any more.
    source.on('error', settle);
    sink.on('error', settle);
    if (signal.aborted) return onAbort();
    if (source.readableEnded) return onEnd();
    if (source.destroyed) return onClose();
    if (sink.destroyed) return onSinkClose();
    signal.addEventListener('abort', onAbort);
    sink.on('drain', onDrain).on('close', onSinkClose);
    source.on('end', onEnd).on('close', onClose).on('data', onData);
  });
}

function broken(why: string): FairleadError {
  return new FairleadError('STREAM_INTERRUPTED', `the stream broke off: ${why}`);
}
