/** The local terminal during an exec: raw mode while it runs, its size and changes of it, and always its restoring. */
import type { CliIo } from './io.ts';

/** The size of a terminal whose size is not known. */
const DEFAULT_SIZE = { cols: 80, rows: 24 };
/** Dragging a window's edge raises a burst of changes; the host takes a limited number of them per second. */
const RESIZE_PAUSE_MS = 50;

export interface TerminalSize {
  cols: number;
  rows: number;
}

/** The size of the terminal that standard output is. */
export function terminalSize(io: CliIo): TerminalSize {
  const { columns, rows } = io.stdout;
  return columns && rows ? { cols: columns, rows } : DEFAULT_SIZE;
}

/** Sets standard input to raw mode if it is a terminal. @returns what restores it; idempotent, also run when the process is killed */
export function rawMode(io: CliIo): () => void {
  const { stdin } = io;
  if (!stdin.isTTY || stdin.setRawMode === undefined) return () => undefined;
  const restore = () => {
    stdin.setRawMode?.(false);
    forgetKill();
  };
  const forgetKill = io.onKill(restore);
  stdin.setRawMode(true);
  return restore;
}

/** Calls `listener` with the size after each change, at most every 50 ms. @returns what ends it */
export function onResize(io: CliIo, listener: (size: TerminalSize) => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const changed = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      listener(terminalSize(io));
    }, RESIZE_PAUSE_MS);
  };
  io.stdout.on('resize', changed);
  return () => {
    io.stdout.off('resize', changed);
    clearTimeout(timer);
  };
}
