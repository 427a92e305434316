/** Handler of container.exec.open: a process in a container, with the stream as its stdin and its output. */
import type { containerExecOpen } from '../../shared/messages/container.ts';
import { Exec, type TerminalSize } from '../docker/exec.ts';
import type { Handler, HandlerContext } from './handler.ts';
import { drain, feed } from './process-bytes.ts';

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
    if (stdin) void sized.then(() => feed(bytes, exec.connection, aborted));
    else bytes.resume();
    const broken = await drain(exec.connection, bytes, aborted);
    const code = await exec.exitCode(aborted, broken);
    exec.connection.destroy();
    stream.finish({ code });
  } catch (error) {
    await endOrWarn(exec, id, context);
    throw error;
  }
};

/** Ends the process of an exec, or says that it lives on. */
export async function endOrWarn(exec: Exec, container: string, { log }: HandlerContext): Promise<void> {
  if (await exec.end()) return;
  log.warn({ exec: exec.id, container }, 'the process of a left exec could not be ended and runs on');
}

async function setSize(exec: Exec, size: TerminalSize, { log }: HandlerContext): Promise<void> {
  try {
    await exec.resize(size);
  } catch (error) {
    log.warn({ err: error, exec: exec.id }, "a terminal's size could not be set");
  }
}
