/** A connection that Docker has handed over: both ways bare, and each of them may end before the other. */
import type { Socket } from 'node:net';

/**
 * Lets the output be read to its end although stdin can no longer be written: a process such as `head` ends before its
 * input does, and Node destroys a socket whose write fails, with all that is still to be read from it.
 */
export function outliveStdin(connection: Socket): void {
  type Done = (error?: Error | null) => void;
  const write = connection._write.bind(connection);
  const writev = connection._writev?.bind(connection);
  const unlessClosed =
    (done: Done): Done =>
    (error) =>
      done(isClosedByPeer(error) ? null : error);
  connection._write = (chunk, encoding, done) => write(chunk, encoding, unlessClosed(done));
  if (writev) connection._writev = (chunks, done) => writev(chunks, unlessClosed(done));
}

/** Whether `error` is what a connection fails with once its other end has closed it. */
export function isClosedByPeer(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EPIPE' || error.code === 'ECONNRESET');
}
