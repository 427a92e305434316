/** Handler of container.attach: a container's own process, which runs on when its watchers leave. */
import type { Socket } from 'node:net';
import { dockerPath } from '../../shared/docker/call.ts';
import { outliveStdin } from '../../shared/docker/connection.ts';
import { asObject, parseDockerJson, readText } from '../../shared/docker/json.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { containerAttach } from '../../shared/messages/container-streams.ts';
import type { Params } from '../../shared/messages/kind.ts';
import { sleep } from '../../shared/sleep.ts';
import type { DockerEngine } from '../docker/engine.ts';
import type { TerminalSize } from '../docker/exec.ts';
import type { Handler, HandlerContext } from './handler.ts';
import { drain, feed } from './process-bytes.ts';

/** How long after the end of the output the container's own end may come. */
const EXIT_GRACE_MS = 1_000;
const MAX_WAIT_BYTES = 64 * 1024;

export const handleAttach: Handler<typeof containerAttach> = async (stream, context) => {
  const { docker } = context;
  const { aborted, bytes, params } = stream;
  const { id, size, stdin = true, logs = false } = params;
  // What it has said before is its log, whatever the call is named that has it said again.
  if (logs) docker.requireNamed(stream.kind, { method: 'GET', path: dockerPath`/containers/${id}/logs` });
  for (const verb of ['attach', 'wait', 'resize'] as const) {
    docker.requirePermitted({ method: 'POST', path: dockerPath`/containers/${id}/${verb}` });
  }
  const { tty } = await running(docker, id, aborted);
  const over = new AbortController();
  // Asked before, so that no end is missed: a container may be gone with its process.
  const exited = await exitOf(docker, id, AbortSignal.any([aborted, over.signal]));
  let connection: Socket | undefined;
  try {
    connection = await attach(docker, params);
    aborted.throwIfAborted();
    const resize = resizer(id, context);
    stream.onSignal((value) => resize(value.resize));
    if (tty && size !== undefined) resize(size);
    stream.sendReply({ tty });
    if (stdin) void feed(bytes, connection, aborted);
    else bytes.resume();
    const broken = await drain(connection, bytes, aborted);
    const code = await endOf(docker, id, exited.code, aborted);
    if (code === undefined && broken) {
      throw new FairleadError('STREAM_INTERRUPTED', 'Docker broke off the connection to the container');
    }
    stream.finish(code === undefined ? {} : { code });
  } finally {
    // No more than that: the process is the container's own.
    connection?.destroy();
    over.abort();
  }
};

/** @throws FairleadError CONFLICT for a container that does not run */
async function running(docker: DockerEngine, id: string, signal: AbortSignal): Promise<{ tty: boolean }> {
  const found = asObject(await docker.json({ method: 'GET', path: dockerPath`/containers/${id}/json`, signal }));
  const { Running, Paused } = asObject(found['State']);
  if (Running !== true) throw new FairleadError('CONFLICT', 'the container does not run: start it first');
  if (Paused === true) throw new FairleadError('CONFLICT', 'the container is paused: unpause it first');
  return { tty: asObject(found['Config'])['Tty'] === true };
}

async function attach(
  docker: DockerEngine,
  { id, stdin = true, logs = false }: Params<typeof containerAttach>,
): Promise<Socket> {
  const query = { stream: 1, stdout: 1, stderr: 1, stdin: Number(stdin), logs: Number(logs) };
  const connection = await docker.hijack({ method: 'POST', path: dockerPath`/containers/${id}/attach`, query });
  outliveStdin(connection);
  // Whoever reads it asks for `errored`; without a listener a late failure would end the agent.
  connection.on('error', () => undefined);
  return connection;
}

/** Has Docker wait for the end of the container's process, whose exit code then comes; undefined if it does not tell. */
async function exitOf(
  docker: DockerEngine,
  id: string,
  signal: AbortSignal,
): Promise<{ readonly code: Promise<number | undefined> }> {
  const path = dockerPath`/containers/${id}/wait`;
  const answer = await docker.stream({ method: 'POST', path, query: { condition: 'next-exit' }, signal });
  const read = async () => {
    const { StatusCode } = asObject(parseDockerJson(await readText(answer, MAX_WAIT_BYTES)));
    return typeof StatusCode === 'number' ? StatusCode : undefined;
  };
  const code = read();
  code.catch(() => undefined);
  return { code };
}

/** The exit code of a process whose output is over; undefined while it runs on. */
async function endOf(
  docker: DockerEngine,
  id: string,
  exited: Promise<number | undefined>,
  signal: AbortSignal,
): Promise<number | undefined> {
  const code = await Promise.race([exited, sleep(EXIT_GRACE_MS, docker.clock, signal)]);
  if (code !== undefined) return code;
  // Docker may be late to tell of an end that it knows.
  const found = asObject(await docker.json({ method: 'GET', path: dockerPath`/containers/${id}/json`, signal }));
  const { Running, ExitCode } = asObject(found['State']);
  return Running === false && typeof ExitCode === 'number' ? ExitCode : undefined;
}

/** Sets the terminal's size, one after the other; of those that come meanwhile the last one counts. */
function resizer(id: string, { docker, log }: HandlerContext): (size: TerminalSize) => void {
  let wanted: TerminalSize | undefined;
  let isBusy = false;
  const work = async () => {
    isBusy = true;
    while (wanted !== undefined) {
      const { rows, cols } = wanted;
      wanted = undefined;
      try {
        await docker.act({ method: 'POST', path: dockerPath`/containers/${id}/resize`, query: { h: rows, w: cols } });
      } catch (error) {
        log.warn({ err: error, container: id }, "a terminal's size could not be set");
      }
    }
    isBusy = false;
  };
  return (size) => {
    wanted = size;
    if (!isBusy) void work();
  };
}
