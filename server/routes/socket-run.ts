/** A stream of a host behind a WebSocket: bytes both ways at the pace of the slower end, control as JSON text. */
import { TextDecoder } from 'node:util';
import type { RawData, WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { ERRORS, FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import { failureOf, SESSION_ASKED } from '../problem.ts';
import { type ClientWatch, watchClient } from './client-watch.ts';
import { clientGone, type LiveStream } from './live-streams.ts';

/** Output that waits in our own memory for a client; beyond it the host's stream waits. */
const HIGH_WATER_BYTES = 256 * 1024;
/** How long a client may take to read why its stream failed, and the same if it may no longer be here. */
const FAILED_CLOSE_MS = 10_000;
const UNWANTED_CLOSE_MS = 500;

/** What of a host's stream is needed here, whatever its kind. */
type Stream = Pick<LinkStream, 'bytes' | 'reset'>;

export interface SocketRunOptions {
  readonly webSocket: WebSocket;
  readonly stream: Stream;
  readonly live: LiveStream;
  readonly clock: Clock;
  /** How errors name what runs. */
  readonly what: string;
}

export interface InputOptions {
  /** Acts on a control message other than the end of the input. @returns whether it is one */
  readonly onControl: (value: unknown) => boolean;
  /** What a text message may be. */
  readonly help: string;
}

export interface Input {
  /** Resolves once the client has ended its input and all of it is on its way to the host. */
  readonly ended: Promise<void>;
  /** Takes no more of it. */
  stop(): void;
}

/** Both ends while they are joined. */
export interface SocketEnds {
  /** Sends the host's bytes to their end, as the pieces that `split` makes of each chunk. */
  sendOutput(split?: (chunk: Buffer) => readonly Buffer[]): Promise<void>;
  /** Takes the client's messages from now on: bytes go to the host. */
  receiveInput(options: InputOptions): Input;
  /** Sends a control message. */
  sendControl(value: object): Promise<void>;
}

/**
 * Runs `work` until it is done, and then closes the WebSocket, or until either side is gone; never rejects.
 * @returns why it did not end by itself
 */
export async function runSocket(
  options: SocketRunOptions,
  work: (ends: SocketEnds) => Promise<void>,
): Promise<Error | undefined> {
  const { webSocket, stream, live, clock, what } = options;
  const unexpected = (cause: unknown) => new FairleadError('INTERNAL', `the ${what} failed on the server`, { cause });
  const gone = () => live.end(clientGone());
  const watch = watchClient(webSocket, clock, gone);
  webSocket.on('error', gone);
  webSocket.once('close', gone);
  stream.bytes.on('error', (error) => live.end(isFairleadError(error) ? error : unexpected(error)));
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(live.signal.reason);
  live.signal.addEventListener('abort', onAbort, { once: true });
  if (live.signal.aborted) onAbort();
  const ends: SocketEnds = {
    sendOutput: (split) => Promise.race([sendOutput(options, watch, split), ended]),
    receiveInput: (input) => receiveInput(options, watch, input),
    sendControl: (value) => Promise.race([sendText(webSocket, value), ended]),
  };
  try {
    await Promise.race([work(ends), ended]);
    webSocket.close(1000);
    return undefined;
  } catch (error) {
    const cause = error instanceof Error ? error : new Error(String(error));
    stream.reset(isFairleadError(cause) ? cause : unexpected(cause));
    closeWith(webSocket, cause, clock);
    return cause;
  } finally {
    live.signal.removeEventListener('abort', onAbort);
    watch.stop();
    live.release();
  }
}

/**
 * Says what went wrong and closes: 4000 and the HTTP status for what the caller can mend, 1011 for the rest. A client that
 * does not read is cut off after a while, at once if it may no longer be here.
 */
function closeWith(webSocket: WebSocket, error: Error, clock: Clock): void {
  if (webSocket.readyState !== webSocket.OPEN) return;
  // Its answer to the close is to be read even if its input waits for a host that does not read.
  if (webSocket.isPaused) webSocket.resume();
  const failure = failureOf(error, SESSION_ASKED);
  const status = isFairleadError(error) ? ERRORS[error.code].status : 500;
  const isShutdown = isFairleadError(error, 'SHUTDOWN');
  webSocket.send(JSON.stringify({ error: failure }));
  webSocket.close(isShutdown ? 1001 : status < 500 ? 4000 + status : 1011, failure.code);
  const isUnwanted = isShutdown || isFairleadError(error, 'UNAUTHORIZED') || isFairleadError(error, 'HOST_NOT_FOUND');
  const timer = clock.setTimeout(() => webSocket.terminate(), isUnwanted ? UNWANTED_CLOSE_MS : FAILED_CLOSE_MS);
  webSocket.once('close', () => timer.cancel());
}

/** A client that has left is dealt with by its close event. */
async function sendText(webSocket: WebSocket, value: object): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  webSocket.once('close', resolve);
  webSocket.send(JSON.stringify(value), () => resolve());
  await promise;
  webSocket.off('close', resolve);
}

/** Sends the output piece by piece, and waits whenever the client is behind. */
async function sendOutput(
  { webSocket, stream }: SocketRunOptions,
  watch: ClientWatch,
  split: (chunk: Buffer) => readonly Buffer[] = (chunk) => [chunk],
): Promise<void> {
  // The end of the output is not the end of the input: the stream stays.
  for await (const chunk of stream.bytes.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    watch.sent();
    for (const piece of split(chunk)) await sendBytes(webSocket, piece);
  }
}

async function sendBytes(webSocket: WebSocket, bytes: Buffer): Promise<void> {
  if (webSocket.readyState !== webSocket.OPEN) throw clientGone();
  if (webSocket.bufferedAmount < HIGH_WATER_BYTES) {
    webSocket.send(bytes, { binary: true });
    return;
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  webSocket.send(bytes, { binary: true }, (error) => (error ? reject(clientGone()) : resolve()));
  await promise;
}

function receiveInput(
  { webSocket, stream, live }: SocketRunOptions,
  watch: ClientWatch,
  { onControl, help }: InputOptions,
): Input {
  const { bytes } = stream;
  const fail = (why: string) => live.end(new FairleadError('VALIDATION', why));
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  let isEnded = false;
  let isStopped = false;
  bytes.on('drain', () => {
    watch.setPaused(false);
    webSocket.resume();
  });
  const onBytes = (piece: Buffer) => {
    if (isEnded) return fail('there was input after its end');
    // A host may end the input before the client does: what comes later is for nobody.
    if (!bytes.writable || bytes.write(piece)) return;
    watch.setPaused(true);
    webSocket.pause();
  };
  webSocket.on('message', (data: RawData, isBinary: boolean) => {
    if (isStopped) return;
    if (isBinary) return onBytes(data as Buffer);
    const control = parsed(data as Buffer);
    if (!isEnd(control)) return onControl(control) ? undefined : fail(help);
    if (!isEnded) bytes.end(resolve);
    isEnded = true;
  });
  return {
    ended,
    stop() {
      isStopped = true;
      if (webSocket.isPaused) webSocket.resume();
    },
  };
}

/** Undefined for what is no JSON: the caller says what it should have been. */
function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

function isEnd(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.keys(value).length === 1 && 'end' in value && value.end === true;
}
