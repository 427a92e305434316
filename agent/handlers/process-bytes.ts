/** The bytes of a process behind a connection that Docker has handed over: its output to its end, its input and the end of that. */
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { isClosedByPeer } from '../../shared/docker/connection.ts';
import { pump } from '../../shared/pump.ts';

/** Copies the output to its end. @returns whether the connection broke instead of ending */
export async function drain(connection: Socket, sink: Writable, signal: AbortSignal): Promise<boolean> {
  try {
    await pump(connection, sink, signal);
    return false;
  } catch (error) {
    // Docker resets the connection when it closes it with stdin unread: whether that was the end, it will tell.
    if (isClosedByPeer(error)) return true;
    throw error;
  }
}

/** Copies stdin and then closes that half of the connection, so that the process reads its end. Never rejects. */
export async function feed(source: Readable, connection: Socket, signal: AbortSignal): Promise<void> {
  try {
    await pump(source, connection, signal);
    connection.end();
  } catch (error) {
    // A stream that is left is ended by the handler, which may have something to say to the process first.
    if (signal.aborted) return;
    // A connection that is gone already has told the output's side; any other failure is told through it.
    connection.destroy(error instanceof Error ? error : undefined);
  }
}
