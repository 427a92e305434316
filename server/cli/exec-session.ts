/** One exec over its WebSocket: bytes both ways at the pace of the slower end, resizes, and the exit code. */
import { Buffer } from 'node:buffer';
import type { WebSocket } from 'ws';
import type { FairleadError } from '../../shared/errors.ts';
import type { CliIo } from './io.ts';
import { lossOf } from './server-watch.ts';
import { bytesOf, deliver, readControl, send } from './socket.ts';
import { onResize, rawMode } from './terminal.ts';

/** What a terminal sends for its end of file, Ctrl-D. */
const END_OF_TRANSMISSION = Buffer.from([4]);
/** The first byte of output frames without a terminal, as in Docker's own streams. */
const STDERR = 2;

export interface ExecMode {
  /** The process has a terminal: output is one stream, and the local terminal goes raw. */
  readonly tty: boolean;
  /** Standard input is forwarded; otherwise the process finds it at its end. */
  readonly stdin: boolean;
}

/**
 * Runs the exec that `socket` is open for.
 * @returns the exit code of the process
 * @throws FairleadError STREAM_INTERRUPTED if the connection ends before it, or with the code the server tells
 */
export async function runExec(socket: WebSocket, io: CliIo, mode: ExecMode): Promise<number> {
  const outcome = receive(socket, io, mode.tty);
  const endings: (() => void)[] = [];
  if (mode.tty && mode.stdin) endings.push(rawMode(io));
  if (mode.tty) endings.push(onResize(io, (resize) => send(socket, { resize })));
  if (mode.stdin) endings.push(forwardInput(socket, io, mode.tty));
  else send(socket, { end: true });
  try {
    return await outcome;
  } finally {
    for (const end of endings) end();
  }
}

/** Writes what comes to the right output, and settles when the connection has ended. */
function receive(socket: WebSocket, io: CliIo, tty: boolean): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let exit: number | undefined;
  let failure: FairleadError | undefined;
  socket.on('message', (data, isBinary) => {
    const frame = bytesOf(data);
    if (isBinary && tty) return deliver(socket, io.stdout, frame);
    if (isBinary) return deliver(socket, frame[0] === STDERR ? io.stderr : io.stdout, frame.subarray(1));
    const control = readControl(frame);
    exit ??= control.detached ? 0 : control.exit;
    failure ??= control.failure;
  });
  socket.on('close', (_code, reason) => {
    if (exit !== undefined) return resolve(exit);
    const because = reason.length > 0 ? `: ${reason.toString('utf8')}` : '';
    reject(failure ?? lossOf(socket, `the connection was lost before the process ended${because}`));
  });
  return promise;
}

/** Forwards standard input piece by piece: the next is read once the one before is on its way. @returns what ends it */
function forwardInput(socket: WebSocket, io: CliIo, tty: boolean): () => void {
  const { stdin } = io;
  const data = (chunk: Buffer) => {
    stdin.pause();
    if (socket.readyState !== socket.OPEN) return;
    socket.send(chunk, (error) => {
      if (!error && socket.readyState === socket.OPEN) stdin.resume();
    });
  };
  const end = () => {
    // A terminal has no end of its own: a pipe that ends says so as a person would, once for the line and once for the end.
    if (tty && socket.readyState === socket.OPEN)
      socket.send(Buffer.concat([END_OF_TRANSMISSION, END_OF_TRANSMISSION]));
    send(socket, { end: true });
  };
  stdin.on('data', data);
  stdin.once('end', end);
  return () => {
    stdin.off('data', data);
    stdin.off('end', end);
    stdin.pause();
  };
}
