/** An exec with a terminal by Hawser's own messages, which say nothing of how its process ends: Docker is asked for that. */
import { answerFailure } from '../../shared/docker/answer-failure.ts';
import { dockerPath } from '../../shared/docker/call.ts';
import { inspectCall } from '../../shared/docker/container-calls.ts';
import { asObject, asTexts, parseDockerJson } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { containerExecOpen } from '../../shared/messages/container.ts';
import type { Params } from '../../shared/messages/kind.ts';
import { sleep } from '../../shared/sleep.ts';
import type { LinkStream, OpenOptions } from '../hosts/host-link.ts';
import { hawserStream } from './hawser-stream.ts';
import type { KindContext } from './kind.ts';
import { hawserCall, json } from './unary.ts';

type ExecOpen = typeof containerExecOpen;

/** How far behind the look the making of an exec is looked for: Docker waits so long to have said all of that time. */
const EVENTS_SECONDS = 1;
const DEFAULT_SIZE = { cols: 80, rows: 24 };
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
  options: OpenOptions,
): Promise<LinkStream<ExecOpen>> {
  const { signal } = options;
  const before = await lookAt(context, params.id, signal);
  const start = { containerId: params.id, cmd, user: params.user ?? '', ...(params.size ?? DEFAULT_SIZE) };
  const terminal = await context.transport.openTerminal(start, options);
  if (params.stdin === false) terminal.bytes.end();
  const found = findExec(context, params.id, cmd, before);
  const trailer = terminal.ended.then(async () => ({ code: await codeOf(context, await found) }));
  trailer.catch(() => undefined);
  return hawserStream<ExecOpen>({
    reply: { execId: terminal.id, tty: true },
    bytes: terminal.bytes,
    trailer,
    onSignal: ({ resize }) => trySend(() => terminal.resize(resize)),
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

/** A container at one moment. */
interface Look {
  readonly execs: readonly string[];
  /** By the clock of the host, in Unix seconds; undefined if it does not say so. */
  readonly at: number | undefined;
}

/** @throws FairleadError CONTAINER_NOT_FOUND, CONFLICT if it does not run */
async function lookAt(context: KindContext, container: string, signal: AbortSignal | undefined): Promise<Look> {
  const { status, headers, body } = await context.ask(hawserCall(inspectCall(container)), { signal });
  const text = body.toString('utf8');
  if (status >= 400) throw answerFailure(status, text);
  const { ExecIDs, State } = asObject(parseDockerJson(text));
  if (asObject(State ?? {})['Running'] === false) {
    throw new FairleadError('CONFLICT', `the container ${container} is not running`);
  }
  const at = Date.parse(headers['Date'] ?? '') / 1000;
  return { execs: asTexts(ExecIDs), at: Number.isFinite(at) ? at : undefined };
}

/**
 * Docker's id of the exec that was begun: the one that is new, and as it was asked for. One that has ended already is found among
 * the events. Never rejects.
 */
async function findExec(
  context: KindContext,
  container: string,
  cmd: string,
  before: Look,
): Promise<string | undefined> {
  try {
    const now = await lookAt(context, container, undefined);
    const running = await alike(
      context,
      cmd,
      now.execs.filter((id) => !before.execs.includes(id)),
    );
    const found =
      running.length > 0 ? running : await alike(context, cmd, await begunSince(context, container, cmd, before));
    return found.length === 1 ? found[0] : undefined;
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return undefined;
  }
}

/** Those of some execs that could be the one that was begun. */
async function alike(context: KindContext, cmd: string, ids: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const id of ids.slice(0, MAX_LOOKED_AT)) {
    const exec = asObject(await json(context, { method: 'GET', path: dockerPath`/exec/${id}/json` }, {}));
    const { entrypoint, arguments: words, tty } = asObject(exec['ProcessConfig'] ?? {});
    if (entrypoint === cmd && tty === true && asTexts(words).length === 0 && exec['OpenStdin'] === true) found.push(id);
  }
  return found;
}

/** Execs of a command whose making Docker has told of since the look, those aside that ran then. */
async function begunSince(context: KindContext, container: string, cmd: string, before: Look): Promise<string[]> {
  if (before.at === undefined) return [];
  const filters = JSON.stringify({ type: ['container'], container: [container], event: ['exec_create'] });
  const query = { since: before.at - 1, until: before.at + EVENTS_SECONDS, filters };
  const { status, body } = await context.ask(hawserCall({ method: 'GET', path: '/events', query }));
  if (status >= 400) return [];
  return body
    .toString('utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => asObject(parseDockerJson(line)))
    .filter(({ status: action, Action = action }) => String(Action).trim() === `exec_create: ${cmd}`)
    .map(({ Actor }) => String(asObject(asObject(Actor ?? {})['Attributes'] ?? {})['execID']))
    .filter((id) => !before.execs.includes(id));
}

/** @throws FairleadError DOCKER_ERROR if nobody knows it */
async function codeOf(context: KindContext, exec: string | undefined): Promise<number> {
  for (let tries = 0; exec !== undefined && tries < CODE_TRIES; tries++) {
    const { Running, ExitCode } = asObject(
      await json(context, { method: 'GET', path: dockerPath`/exec/${exec}/json` }, {}),
    );
    if (Running === false && typeof ExitCode === 'number' && Number.isInteger(ExitCode)) return ExitCode;
    await sleep(CODE_RETRY_MS, context.transport.clock);
  }
  throw new FairleadError(
    'DOCKER_ERROR',
    'the process has ended, but how is not known: agents of Hawser do not say it, and Docker no longer has it in its list',
  );
}
