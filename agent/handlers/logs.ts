/** Handler of container.log.stream: Docker's own bytes, as fast as the reader takes them. */
import { hasTerminal, inspectCall, logCall } from '../../shared/docker/container-calls.ts';
import type { containerLogStream } from '../../shared/messages/container.ts';
import { pump } from '../../shared/pump.ts';
import type { Handler } from './handler.ts';

export const handleLogStream: Handler<typeof containerLogStream> = async (stream, { docker }) => {
  const { params, aborted } = stream;
  const call = logCall(params, docker.clock.now());
  const container = await docker.json({ ...inspectCall(params.id), signal: aborted });
  const tty = hasTerminal(container);
  const logs = await docker.stream({ ...call, signal: aborted });
  try {
    stream.sendReply({ tty });
    await pump(logs, stream.bytes, aborted);
    stream.finish();
  } finally {
    logs.destroy();
  }
};
