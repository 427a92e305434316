/** Bytes from one stream into another, as fast as the other takes them. */
import type { Readable, Writable } from 'node:stream';
import { FairleadError } from './errors.ts';

/**
 * What is gathered at most of chunks that come in one turn. Docker sends each line of a log as a chunk of its own: passed on
 * one by one, each costs many times its bytes in objects, and outlives the young garbage that it should be part of.
 */
const MAX_GATHERED_BYTES = 64 * 1024;

/**
 * Copies `source` into `sink` until it ends. Unlike `stream.pipeline` it neither ends nor destroys either of them: the
 * caller knows what an error means, and which code to reset the other end with.
 * Rejects with the error of the one that fails, and with the signal's reason as soon as it is aborted.
 * @param length bytes of the whole as their sender said: one more would be read as the next message, one less never ends.
 * Rejects with VALIDATION when more come, none of which passes, or fewer
 */
export function pump(source: Readable, sink: Writable, signal: AbortSignal, length?: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = length;
    const maxGathered = Math.min(MAX_GATHERED_BYTES, sink.writableHighWaterMark);
    let settled = false;
    let gathered: Buffer[] = [];
    let bytes = 0;
    const flush = () => {
      const chunks = gathered;
      if (settled || chunks.length === 0) return;
      const gatheredBytes = bytes;
      gathered = [];
      bytes = 0;
      const [only] = chunks;
      if (!sink.write(chunks.length === 1 ? only : Buffer.concat(chunks, gatheredBytes))) source.pause();
    };
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
      if (left !== undefined) left -= chunk.byteLength;
      if (left !== undefined && left < 0) return settle(otherLength('longer'));
      gathered.push(chunk);
      bytes += chunk.byteLength;
      if (bytes >= maxGathered) flush();
      else if (gathered.length === 1) process.nextTick(flush);
    };
    const onDrain = () => source.resume();
    const onEnd = () => {
      flush();
      settle(left === undefined || left === 0 ? undefined : otherLength('shorter'));
    };
    const onClose = () => {
      flush();
      settle(source.errored ?? broken('it was closed before its end'));
    };
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

function otherLength(how: 'longer' | 'shorter'): FairleadError {
  return new FairleadError('VALIDATION', `the body is ${how} than its Content-Length`);
}
