/** One exec behind a WebSocket: bytes both ways at the pace of the slower end, control as JSON text, then the exit code. */
import { TextDecoder } from 'node:util';
import Type, { type Static } from 'typebox';
import type { RawData, WebSocket } from 'ws';
import type { Clock, Timer } from '../../shared/clock.ts';
import { Demuxer } from '../../shared/docker/demux.ts';
import { ERRORS, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { type containerExecOpen, TerminalSize } from '../../shared/messages/container.ts';
import { fits } from '../../shared/validate.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import { failureOf } from '../problem.ts';
import { type ClientWatch, watchClient } from './client-watch.ts';
import { clientGone, type LiveStream } from './live-streams.ts';

/** Output that waits in our own memory for a client; beyond it the host's stream waits. */
const HIGH_WATER_BYTES = 256 * 1024;
/** Sizes of a window that is being dragged: the last of this time counts. */
const RESIZE_MS = 50;
/** How long a client may take to read why its exec failed, and the same if it may no longer be here. */
const FAILED_CLOSE_MS = 10_000;
const UNWANTED_CLOSE_MS = 500;

const strict = { additionalProperties: false };
const Control = Type.Union([
  Type.Object({ resize: TerminalSize }, strict),
  Type.Object({ end: Type.Literal(true) }, strict),
]);

type Exec = LinkStream<typeof containerExecOpen>;

export interface ExecSocketOptions {
  readonly webSocket: WebSocket;
  readonly exec: Exec;
  readonly live: LiveStream;
  readonly clock: Clock;
  /** Puts a byte, 1 or 2, before each output frame of an exec without a terminal. */
  readonly separate: boolean;
}

/** Runs until the process has ended or either side is gone; never rejects. @returns why it did not end by itself */
export async function runExec(options: ExecSocketOptions): Promise<FairleadError | Error | undefined> {
  const { webSocket, exec, live, clock } = options;
  const gone = () => live.end(clientGone());
  const watch = watchClient(webSocket, clock, gone);
  webSocket.on('error', gone);
  webSocket.once('close', gone);
  exec.bytes.on('error', (error) => live.end(isFairleadError(error) ? error : unexpected(error)));
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(live.signal.reason);
  live.signal.addEventListener('abort', onAbort, { once: true });
  if (live.signal.aborted) onAbort();
  try {
    const input = receiveInput(options, (error) => live.end(error), watch);
    await Promise.race([sendOutput(options, watch), ended]);
    const { code } = await Promise.race([exec.trailer, ended]);
    input.stop();
    exec.bytes.end();
    await Promise.race([sendText(webSocket, { exit: { code } }), ended]);
    webSocket.close(1000);
    return undefined;
  } catch (error) {
    const cause = error instanceof Error ? error : new Error(String(error));
    exec.reset(isFairleadError(cause) ? cause : unexpected(cause));
    closeWith(webSocket, cause, clock);
    return cause;
  } finally {
    live.signal.removeEventListener('abort', onAbort);
    watch.stop();
    live.release();
  }
}

function unexpected(cause: unknown): FairleadError {
  return new FairleadError('INTERNAL', 'the exec failed on the server', { cause });
}

/**
 * Says what went wrong and closes: 4000 and the HTTP status for what the caller can mend, 1011 for the rest. A client that
 * does not read is cut off after a while, at once if it may no longer be here.
 */
function closeWith(webSocket: WebSocket, error: Error, clock: Clock): void {
  if (webSocket.readyState !== webSocket.OPEN) return;
  // Its answer to the close is to be read even if its input waits for a process that does not read.
  if (webSocket.isPaused) webSocket.resume();
  const failure = failureOf(error);
  const status = isFairleadError(error) ? ERRORS[error.code].status : 500;
  const isShutdown = isFairleadError(error, 'SHUTDOWN');
  webSocket.send(JSON.stringify({ error: failure }));
  webSocket.close(isShutdown ? 1001 : status < 500 ? 4000 + status : 1011, failure.code);
  const isUnwanted = isShutdown || isFairleadError(error, 'UNAUTHORIZED') || isFairleadError(error, 'HOST_NOT_FOUND');
  const timer = clock.setTimeout(() => webSocket.terminate(), isUnwanted ? UNWANTED_CLOSE_MS : FAILED_CLOSE_MS);
  webSocket.once('close', () => timer.cancel());
}

/** Sends a control message. A client that has left is dealt with by its close event. */
async function sendText(webSocket: WebSocket, value: object): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  webSocket.once('close', resolve);
  webSocket.send(JSON.stringify(value), () => resolve());
  await promise;
  webSocket.off('close', resolve);
}

/** Sends the output piece by piece, and waits whenever the client is behind. */
async function sendOutput({ webSocket, exec, separate }: ExecSocketOptions, watch: ClientWatch): Promise<void> {
  const pieces: Buffer[] = [];
  const isPlain = exec.reply.tty;
  const demuxer = new Demuxer((stream, piece) => {
    pieces.push(separate ? Buffer.concat([Buffer.of(stream), piece]) : piece);
  });
  // The end of the output is not the end of the input: the stream stays.
  for await (const chunk of exec.bytes.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    watch.sent();
    if (isPlain) pieces.push(chunk);
    else demuxer.push(chunk);
    for (const piece of pieces) await sendBytes(webSocket, piece);
    pieces.length = 0;
  }
  if (!isPlain) demuxer.end();
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

/** Takes the client's messages: bytes go to the process, control to the terminal. */
function receiveInput(
  { webSocket, exec, clock }: ExecSocketOptions,
  fail: (error: FairleadError) => void,
  watch: ClientWatch,
): { stop(): void } {
  const resize = latestResize(clock, exec);
  let isEnded = false;
  let isStopped = false;
  exec.bytes.on('drain', () => {
    watch.setPaused(false);
    webSocket.resume();
  });
  const onBytes = (bytes: Buffer) => {
    if (isEnded) return fail(new FairleadError('VALIDATION', 'there was input after its end'));
    // A process may end its input before the client does: what comes later is for nobody.
    if (!exec.bytes.writable || exec.bytes.write(bytes)) return;
    watch.setPaused(true);
    webSocket.pause();
  };
  webSocket.on('message', (data: RawData, isBinary: boolean) => {
    if (isStopped) return;
    if (isBinary) return onBytes(data as Buffer);
    const control = readControl(data as Buffer);
    if (control === undefined) return fail(new FairleadError('VALIDATION', CONTROL_HELP));
    if ('resize' in control) return exec.reply.tty ? resize.set(control.resize) : undefined;
    if (!isEnded) exec.bytes.end();
    isEnded = true;
  });
  return {
    stop() {
      isStopped = true;
      resize.stop();
      if (webSocket.isPaused) webSocket.resume();
    },
  };
}

const CONTROL_HELP = 'a text message must be {"resize":{"cols":…,"rows":…}} or {"end":true}';

function readControl(bytes: Buffer): Static<typeof Control> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return fits(Control, value) ? value : undefined;
  } catch {
    // Whatever it is, it is no JSON: the caller says what it should have been.
    return undefined;
  }
}

/** Passes on the first resize at once and then only the latest, since a host takes few signals a second. */
function latestResize(clock: Clock, exec: Exec): { set(size: Static<typeof TerminalSize>): void; stop(): void } {
  let timer: Timer | undefined;
  let waiting: Static<typeof TerminalSize> | undefined;
  const tick = () => {
    timer = undefined;
    const size = waiting;
    waiting = undefined;
    if (size !== undefined) send(size);
  };
  const send = (size: Static<typeof TerminalSize>) => {
    exec.signal({ resize: size });
    timer = clock.setTimeout(tick, RESIZE_MS);
  };
  return {
    set(size) {
      if (timer === undefined) send(size);
      else waiting = size;
    },
    stop: () => timer?.cancel(),
  };
}
