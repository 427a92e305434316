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
import { asFairleadError, hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import type { KindContext } from './kind.ts';
import { INPUT_GAP_MS, REQUEST_MS } from './limits.ts';
import type { HawserSession } from './session.ts';
import { TerminalInput } from './terminal-input.ts';
import { hawserCall, json } from './unary.ts';

type ExecOpen = typeof containerExecOpen;

/** How far behind the look the making of an exec is looked for: Docker waits so long to have said all of that time. */
const EVENTS_SECONDS = 1;
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
  options: OpenOptions,
): Promise<LinkStream<ExecOpen>> {
  const { signal } = options;
  const before = await lookAt(context, params.id, signal);
  const terminal = new Terminal(context.session);
  await terminal.start(
    { containerId: params.id, cmd, user: params.user ?? '', ...(params.size ?? DEFAULT_SIZE) },
    options,
  );
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

/** What an exec_start says. */
interface ExecStart {
  readonly containerId: string;
  readonly cmd: string;
  readonly user: string;
  readonly cols: number;
  readonly rows: number;
}

/** An exec as the agent serves it: its bytes, and whether they have ended. */
class Terminal {
  readonly id: string;
  /** Out of the terminal, and what is typed into it. */
  readonly bytes: HeldBytes;
  readonly #session: HawserSession;
  readonly #input: TerminalInput;
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();

  constructor(session: HawserSession) {
    this.#session = session;
    for (const { promise } of [this.#ready, this.#ended]) promise.catch(() => undefined);
    this.#input = new TerminalInput(session.clock, (frame) => this.#type(frame));
    this.bytes = new HeldBytes(session.gate, () => void this.#leave(), this.#input);
    this.bytes.once('error', (error) => this.#settle(asFairleadError(error)));
    this.id = session.begin({
      sort: 'exec',
      ready: this.#ready.resolve,
      data: (chunk) => this.bytes.receive(chunk),
      end: () => {
        this.bytes.finish();
        this.#settle();
      },
      fail: (error) => void this.bytes.destroy(error),
    });
  }

  /** Resolves once the output has ended by itself; rejects when the exec was left or cut off. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Resolves once Docker has taken the exec. @throws what the agent says, TIMEOUT, the reason of `signal` */
  async start(start: ExecStart, { signal, timeoutMs = REQUEST_MS }: OpenOptions): Promise<void> {
    const late = new FairleadError('TIMEOUT', 'the host did not start the exec in time');
    const timer = this.#session.clock.setTimeout(() => this.bytes.destroy(late), timeoutMs);
    const onAbort = () => this.bytes.destroy(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      this.#session.send({ type: 'exec_start', execId: this.id, ...start });
      await this.#ready.promise;
    } catch (error) {
      this.bytes.destroy();
      throw error;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** @throws FairleadError OVERLOADED */
  resize(size: { readonly cols: number; readonly rows: number }): void {
    this.#session.send({ type: 'exec_resize', execId: this.id, ...size });
  }

  #type(frame: Buffer): void {
    this.#session.send({ type: 'exec_input', execId: this.id, data: frame.toString('base64') });
  }

  #settle(error?: FairleadError): void {
    if (error === undefined) {
      this.#ready.resolve();
      this.#ended.resolve();
    } else {
      this.#ready.reject(error);
      this.#ended.reject(error);
    }
  }

  /** The agent ends the connection, not the process: keys may do that. */
  async #leave(): Promise<void> {
    const { clock } = this.#session;
    this.#input.stop();
    this.#settle(new FairleadError('CANCELLED', 'the exec was left'));
    try {
      for (const key of [CTRL_C, CTRL_D]) {
        this.#type(key);
        await sleep(2 * INPUT_GAP_MS, clock);
      }
      await sleep(FAREWELL_MS, clock);
    } catch {
      // An agent that takes no keys takes no end either; its own end of the connection ends with the session.
    }
    this.#session.release(this.id, true);
  }
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
    await sleep(CODE_RETRY_MS, context.session.clock);
  }
  throw new FairleadError(
    'DOCKER_ERROR',
    'the process has ended, but how is not known: agents of Hawser do not say it, and Docker no longer has it in its list',
  );
}
