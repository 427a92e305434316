/** A process behind a WebSocket, one of an exec or a container's own: its input and output, its terminal, its exit code. */
import Type, { type Static } from 'typebox';
import type { WebSocket } from 'ws';
import type { Clock, Timer } from '../../shared/clock.ts';
import { Demuxer } from '../../shared/docker/demux.ts';
import { TerminalSize } from '../../shared/messages/container.ts';
import type { containerAttach } from '../../shared/messages/container-streams.ts';
import { fits } from '../../shared/validate.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import type { LiveStream } from './live-streams.ts';
import { runSocket } from './socket-run.ts';

/** Sizes of a window that is being dragged: the last of this time counts. */
const RESIZE_MS = 50;

const strict = { additionalProperties: false };
const Resize = Type.Object({ resize: TerminalSize }, strict);
const CONTROL_HELP = 'a text message must be {"resize":{"cols":…,"rows":…}} or {"end":true}';

type Process = Pick<LinkStream<typeof containerAttach>, 'reply' | 'bytes' | 'trailer' | 'signal' | 'reset'>;

export interface TerminalSocketOptions {
  readonly webSocket: WebSocket;
  readonly process: Process;
  readonly live: LiveStream;
  readonly clock: Clock;
  /** Puts a byte, 1 or 2, before each output frame of a process without a terminal. */
  readonly separate: boolean;
  /** How errors name what runs. */
  readonly what: string;
}

/** Runs until the process has ended or either side is gone; never rejects. @returns why it did not end by itself */
export async function runTerminal(options: TerminalSocketOptions): Promise<Error | undefined> {
  const { webSocket, process, live, clock, separate, what } = options;
  const resize = latestResize(clock, process);
  const onControl = (value: unknown) => {
    if (!fits(Resize, value)) return false;
    if (process.reply.tty) resize.set(value.resize);
    return true;
  };
  try {
    return await runSocket({ webSocket, stream: process, live, clock, what }, async (ends) => {
      const input = ends.receiveInput({ onControl, help: CONTROL_HELP });
      const split = process.reply.tty ? undefined : demuxed(separate);
      await ends.sendOutput(split?.push);
      split?.end();
      const { code } = await process.trailer;
      input.stop();
      process.bytes.end();
      await ends.sendControl(code === undefined ? { detached: true } : { exit: { code } });
    });
  } finally {
    resize.stop();
  }
}

/** Takes Docker's frames apart. */
function demuxed(separate: boolean): { push(chunk: Buffer): Buffer[]; end(): void } {
  let pieces: Buffer[] = [];
  const demuxer = new Demuxer((stream, piece) => {
    pieces.push(separate ? Buffer.concat([Buffer.of(stream), piece]) : piece);
  });
  return {
    push(chunk) {
      pieces = [];
      demuxer.push(chunk);
      return pieces;
    },
    end: () => demuxer.end(),
  };
}

/** Passes on the first resize at once and then only the latest, since a host takes few signals a second. */
function latestResize(clock: Clock, process: Process): { set(size: Static<typeof TerminalSize>): void; stop(): void } {
  let timer: Timer | undefined;
  let waiting: Static<typeof TerminalSize> | undefined;
  const tick = () => {
    timer = undefined;
    const size = waiting;
    waiting = undefined;
    if (size !== undefined) send(size);
  };
  const send = (size: Static<typeof TerminalSize>) => {
    process.signal({ resize: size });
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
