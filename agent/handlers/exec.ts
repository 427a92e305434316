/** Handler of container.exec.open: a process in a container, with the stream as its stdin and its output. */
import type { Duplex } from 'node:stream';
import type { containerExecOpen } from '../../shared/messages/container.ts';
import { pump } from '../../shared/pump.ts';
import { isClosedByPeer } from '../docker/connection.ts';
import { Exec, type TerminalSize } from '../docker/exec.ts';
import type { Handler, HandlerContext } from './handler.ts';

export const handleExecOpen: Handler<typeof containerExecOpen> = async (stream, context) => {
  const { aborted, bytes } = stream;
  const { id, tty = false, stdin = true, ...options } = stream.params;
  const exec = await Exec.start(context.docker, { container: id, tty, stdin, ...options }, aborted);
  try {
    aborted.throwIfAborted();
    stream.onSignal(({ resize }) => void setSize(exec, resize, context));
    // Engines before API 1.42 do not take the size with the start. What is typed ahead must find the terminal's size.
    const sized = tty && options.size ? setSize(exec, options.size, context) : Promise.resolve();
    stream.sendReply({ execId: exec.id, tty });
    if (stdin) void sized.then(() => feed(bytes, exec, aborted));
    else bytes.resume();
    const broken = await drain(exec, bytes, aborted);
    const code = await exec.exitCode(aborted, broken);
    exec.connection.destroy();
    stream.finish({ code });
  } catch (error) {
    if (!(await exec.end())) {
      context.log.warn({ exec: exec.id, container: id }, 'the process of a left exec could not be ended and runs on');
    }
    throw error;
  }
};

/** Copies the output to its end. @returns whether the connection broke instead of ending */
async function drain(exec: Exec, bytes: Duplex, aborted: AbortSignal): Promise<boolean> {
  try {
    await pump(exec.connection, bytes, aborted);
    return false;
  } catch (error) {
    // Docker resets the connection when it closes it with stdin unread: whether that was the end, it will tell.
    if (isClosedByPeer(error)) return true;
    throw error;
  }
}

/** Copies stdin and then closes that half of the connection, so that the process reads its end. Never rejects. */
async function feed(bytes: Duplex, exec: Exec, aborted: AbortSignal): Promise<void> {
  try {
    await pump(bytes, exec.connection, aborted);
    exec.connection.end();
  } catch (error) {
    // A stream that is left is ended by the handler, which may have something to say to the process first.
    if (aborted.aborted) return;
    // A connection that is gone already has told the output's side; any other failure is told through it.
    exec.connection.destroy(error instanceof Error ? error : undefined);
  }
}

async function setSize(exec: Exec, size: TerminalSize, { log }: HandlerContext): Promise<void> {
  try {
    await exec.resize(size);
  } catch (error) {
    log.warn({ err: error, exec: exec.id }, "a terminal's size could not be set");
  }
}
