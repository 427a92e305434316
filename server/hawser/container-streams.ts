/** container.log.stream, container.stats and host.info on hosts of Hawser. */
import { hasTerminal, inspectCall, logCall, statsCall } from '../../shared/docker/container-calls.ts';
import { asCount, asObject, jsonLines } from '../../shared/docker/json.ts';
import { isFairleadError } from '../../shared/errors.ts';
import type { containerLogStream, containerStats } from '../../shared/messages/container.ts';
import type { hostInfo } from '../../shared/messages/host.ts';
import { hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import type { ServeKind } from './kind.ts';
import { refuseBy } from './refusal-stream.ts';
import { hawserCall, json } from './unary.ts';

const MAX_SAMPLE_BYTES = 1024 * 1024;

/** A streamed answer has no status: whether there is such a container is asked before. */
export const serveLogStream: ServeKind<typeof containerLogStream> = async (context, params, { signal, timeoutMs }) => {
  const call = logCall(params, context.transport.clock.now());
  const tty = hasTerminal(await json(context, inspectCall(params.id), { signal, timeoutMs }));
  const bytes = context.transport.stream(hawserCall(call));
  // Frames begin with a type below 3: what Docker refuses all the same is told by its brace.
  if (!tty) refuseBy(bytes);
  return hawserStream<typeof containerLogStream>({ reply: { tty }, bytes, signal });
};

export const serveStats: ServeKind<typeof containerStats> = async (context, params, { signal, timeoutMs }) => {
  await json(context, inspectCall(params.id), { signal, timeoutMs });
  const source = context.transport.stream(hawserCall(statsCall(params)));
  refuseBy(source);
  return hawserStream<typeof containerStats>({
    reply: {},
    bytes: source,
    items: () => jsonLines(source, MAX_SAMPLE_BYTES),
    signal,
  });
};

export const serveHostInfo: ServeKind<typeof hostInfo> = async (context, _params, { signal, timeoutMs }) => {
  let dockerInfo: Record<string, unknown> | undefined;
  try {
    dockerInfo = asObject(await json(context, { method: 'GET', path: '/info' }, { signal, timeoutMs }));
  } catch (error) {
    // As of a host of Fairlead: it has something to say of itself without Docker.
    if (!isFairleadError(error, 'DOCKER_UNREACHABLE')) throw error;
  }
  const { hostname, os, arch, agentVersion } = context.facts;
  const uptime = context.samples.last.sample?.uptimeSeconds;
  const { KernelVersion, NCPU, MemTotal } = dockerInfo ?? {};
  const bytes = HeldBytes.none();
  bytes.resume();
  return hawserStream<typeof hostInfo>({
    reply: {
      ...{ hostname, os, arch, agentVersion },
      kernel: typeof KernelVersion === 'string' ? KernelVersion : '',
      cpus: asCount(NCPU),
      memoryBytes: asCount(MemTotal),
      ...(uptime === undefined ? {} : { uptimeSeconds: uptime }),
      docker: context.docker(),
      ...(dockerInfo === undefined ? {} : { dockerInfo }),
    },
    bytes,
  });
};
