/** An exec with a terminal by Hawser's own messages, which say nothing of how its process ends: Docker is asked for that. */
import { dockerPath } from '../../shared/docker/call.ts';
import { inspectCall } from '../../shared/docker/container-calls.ts';
import { asObject, asTexts } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { containerExecOpen } from '../../shared/messages/container.ts';
import type { Params } from '../../shared/messages/kind.ts';
import { sleep } from '../../shared/sleep.ts';
import type { LinkStream, OpenOptions } from '../hosts/host-link.ts';
import { hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import type { KindContext } from './kind.ts';
import { INPUT_GAP_MS, REQUEST_MS } from './limits.ts';
import { TerminalInput } from './terminal-input.ts';
import { json } from './unary.ts';

type ExecOpen = typeof containerExecOpen;

const DEFAULT_SIZE = { cols: 80, rows: 24 };
const CTRL_C = Buffer.from([0x03]);
const CTRL_D = Buffer.from([0x04]);
/** How long a process that is left has to take the keys that end most of them. */
const FAREWELL_MS = 50;
/** Execs of a container that are looked through for the one that was begun. */
const MAX_LOOKED_AT = 8;
/** How often Docker is asked for the code of a process whose output has ended, and how long in between. */
const CODE_TRIES = 10;
const CODE_RETRY_MS = 50;

/** @throws FairleadError CONTAINER_NOT_FOUND, CONFLICT, TIMEOUT, OVERLOADED, … */
export async function openTerminal(
  context: KindContext,
  params: Params<ExecOpen>,
  cmd: string,
  { signal, timeoutMs = REQUEST_MS }: OpenOptions,
): Promise<LinkStream<ExecOpen>> {
  const { session } = context;
  const { clock } = session;
  const before = await execIds(context, params.id, signal);
  const size = params.size ?? DEFAULT_SIZE;
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  ended.promise.catch(() => undefined);
  const input = new TerminalInput(clock, (frame) => sendInput(frame));
  const bytes = new HeldBytes(session.gate, () => void leave(), input);
  const fail = (error: FairleadError) => {
    ready.reject(error);
    ended.reject(error);
    bytes.destroy(error);
  };
  const id = session.begin({
    sort: 'exec',
    ready: ready.resolve,
    data: (chunk) => bytes.receive(chunk),
    end: () => {
      ready.resolve();
      bytes.finish();
      ended.resolve();
    },
    fail,
  });
  const sendInput = (frame: Buffer) => session.send({ type: 'exec_input', execId: id, data: frame.toString('base64') });
  /** The agent ends the connection, not the process: keys may do that. */
  const leave = async () => {
    input.stop();
    ended.reject(new FairleadError('CANCELLED', 'the exec was left'));
    try {
      for (const key of [CTRL_C, CTRL_D]) {
        sendInput(key);
        await sleep(2 * INPUT_GAP_MS, clock);
      }
      await sleep(FAREWELL_MS, clock);
    } catch {
      // An agent that takes no keys takes no end either; its own end of the connection ends with the session.
    }
    session.release(id, true);
  };
  const late = clock.setTimeout(
    () => fail(new FairleadError('TIMEOUT', 'the host did not start the exec in time')),
    timeoutMs,
  );
  const onAbort = () => bytes.destroy(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  bytes.once('error', ready.reject);
  try {
    const user = params.user ?? '';
    session.send({ type: 'exec_start', execId: id, containerId: params.id, cmd, user, ...size });
    await ready.promise;
  } catch (error) {
    bytes.destroy();
    throw error;
  } finally {
    late.cancel();
    signal?.removeEventListener('abort', onAbort);
  }
  if (params.stdin === false) bytes.end();
  const found = findExec(context, params.id, cmd, before);
  const trailer = ended.promise.then(async () => ({ code: await codeOf(context, await found) }));
  trailer.catch(() => undefined);
  return hawserStream<ExecOpen>({
    reply: { execId: id, tty: true },
    bytes,
    trailer,
    onSignal: ({ resize }) => trySend(() => session.send({ type: 'exec_resize', execId: id, ...resize })),
    signal,
  });
}

/** A size that cannot be sent is the least trouble of an agent that does not read. */
function trySend(send: () => void): void {
  try {
    send();
  } catch (error) {
    if (!isFairleadError(error)) throw error;
  }
}

/** The execs that run in a container. @throws FairleadError CONTAINER_NOT_FOUND, CONFLICT if it does not run itself */
async function execIds(context: KindContext, container: string, signal: AbortSignal | undefined): Promise<string[]> {
  const { ExecIDs, State } = asObject(await json(context, inspectCall(container), { signal }));
  if (asObject(State ?? {})['Running'] === false) {
    throw new FairleadError('CONFLICT', `the container ${container} is not running`);
  }
  return asTexts(ExecIDs);
}

/** Docker's id of the exec that was begun: the one that is new, and as it was asked for. Never rejects. */
async function findExec(
  context: KindContext,
  container: string,
  cmd: string,
  before: readonly string[],
): Promise<string | undefined> {
  try {
    const now = await execIds(context, container, undefined);
    const fresh = now.filter((id) => !before.includes(id)).slice(0, MAX_LOOKED_AT);
    const alike: string[] = [];
    for (const id of fresh) {
      const exec = asObject(await json(context, { method: 'GET', path: dockerPath`/exec/${id}/json` }, {}));
      const { entrypoint, arguments: words, tty } = asObject(exec['ProcessConfig'] ?? {});
      if (entrypoint === cmd && tty === true && asTexts(words).length === 0 && exec['OpenStdin'] === true)
        alike.push(id);
    }
    return alike.length === 1 ? alike[0] : undefined;
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return undefined;
  }
}

/** @throws FairleadError DOCKER_ERROR if nobody knows it */
async function codeOf(context: KindContext, exec: string | undefined): Promise<number> {
  for (let tries = 0; exec !== undefined && tries < CODE_TRIES; tries++) {
    const { Running, ExitCode } = asObject(
      await json(context, { method: 'GET', path: dockerPath`/exec/${exec}/json` }, {}),
    );
    if (Running === false && typeof ExitCode === 'number' && Number.isInteger(ExitCode)) return ExitCode;
    await sleep(CODE_RETRY_MS, context.session.clock);
  }
  throw new FairleadError(
    'DOCKER_ERROR',
    'the process has ended, but how is not known: agents of Hawser do not say it, and Docker no longer has it in its list',
  );
}
