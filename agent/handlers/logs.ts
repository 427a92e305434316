/** Handler of container.log.stream: Docker's own bytes, as fast as the reader takes them. */
import { hasTerminal, inspectCall, logCall } from '../../shared/docker/container-calls.ts';
import { ContainerRef, type containerLogStream, DockerTime } from '../../shared/messages/container.ts';
import { pump } from '../../shared/pump.ts';
import { fits } from '../../shared/validate.ts';
import type { Handler } from './handler.ts';

export const handleLogStream: Handler<typeof containerLogStream> = async (stream, { docker }) => {
  const { params, aborted } = stream;
  const now = docker.clock.now();
  const call = logCall(params, now);
  const container = await docker.json({ ...inspectCall(params.id), signal: aborted });
  const tty = hasTerminal(container);
  const logs = await docker.stream({ ...call, signal: aborted });
  try {
    stream.sendReply({ tty, ...identityOf(container), openedAt: new Date(now).toISOString() });
    await pump(logs, stream.bytes, aborted);
    stream.finish();
  } finally {
    logs.destroy();
  }
};

/** By what the same container, and the same run of it, is known again. What is not as Docker makes it is left out. */
function identityOf(container: unknown): { id?: string; startedAt?: string } {
  const { Id, State } = container as { Id?: unknown; State?: unknown };
  const { StartedAt } = (State ?? {}) as { StartedAt?: unknown };
  return {
    ...(fits(ContainerRef, Id) ? { id: Id } : {}),
    ...(fits(DockerTime, StartedAt) ? { startedAt: StartedAt } : {}),
  };
}
