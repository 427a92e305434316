/** Terminals of a Dockhand server in Edge mode: input in its order, output at the server's pace, and no process that is left behind. */
import type { Static } from 'typebox';
import { ERRORS, FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import type { execStart } from '../../shared/hawser/messages.ts';
import { fromBase64 } from '../../shared/hawser/parse.ts';
import { containerExecOpen } from '../../shared/messages/container.ts';
import { Exec, type TerminalSize } from '../docker/exec.ts';
import { drain } from '../handlers/process-bytes.ts';
import { requireKind } from '../policy/denied-kind.ts';
import type { HawserContext } from './context.ts';
import { chunked } from './edge-body.ts';
import type { EdgeSession } from './edge-session.ts';
import { MAX_ALL_INPUT_BYTES, MAX_EXECS, MAX_INPUT_BYTES, MESSAGE_COST_BYTES } from './limits.ts';

type ExecStart = Static<typeof execStart>;

/** A terminal, from the moment that it is asked for. */
interface Terminal {
  readonly ending: AbortController;
  readonly done: Promise<void>;
  /** Once it takes input. */
  exec: Exec | undefined;
  /** What was typed before. */
  early: Buffer[];
  /** What all that was typed and is not taken yet costs. */
  waiting: number;
  size: TerminalSize | undefined;
}

export class EdgeExecs {
  readonly #session: EdgeSession;
  readonly #context: HawserContext;
  readonly #terminals = new Map<string, Terminal>();

  constructor(session: EdgeSession, context: HawserContext) {
    this.#session = session;
    this.#context = context;
  }

  /** Resolves once none is left. */
  async settled(): Promise<void> {
    await Promise.all([...this.#terminals.values()].map(({ done }) => done));
  }

  /** Never throws. */
  start(message: ExecStart): void {
    const { execId, cols, rows } = message;
    if (this.#terminals.has(execId)) {
      return void this.#session.fail(execId, 'EXEC_CREATE_ERROR', 'an exec with this id is in progress already');
    }
    if (this.#terminals.size >= MAX_EXECS) {
      return void this.#session.fail(execId, 'SESSION_LIMIT', `this agent has ${MAX_EXECS} terminals open already`);
    }
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const terminal: Terminal = {
      ...{ ending: new AbortController(), done, exec: undefined, early: [], waiting: 0 },
      size: cols > 0 && rows > 0 ? { cols, rows } : undefined,
    };
    const onEnd = () => terminal.ending.abort(this.#session.ending.reason);
    this.#session.ending.addEventListener('abort', onEnd);
    this.#terminals.set(execId, terminal);
    void this.#serve(message, terminal).finally(() => {
      this.#session.ending.removeEventListener('abort', onEnd);
      this.#terminals.delete(execId);
      resolve();
    });
  }

  /** What comes for one that there is not, or no longer, is dropped. @throws FairleadError MESSAGE_INVALID */
  input(execId: string, data: string): void {
    const terminal = this.#terminals.get(execId);
    if (terminal === undefined) return;
    const bytes = fromBase64(data);
    const all = [...this.#terminals.values()].reduce((sum, each) => sum + each.waiting, 0);
    const cost = costOf(bytes);
    if (terminal.waiting + cost > MAX_INPUT_BYTES || all + cost > MAX_ALL_INPUT_BYTES) {
      return void terminal.ending.abort(new FairleadError('OVERLOADED', 'the process does not read what is typed'));
    }
    terminal.waiting += cost;
    if (terminal.exec === undefined) terminal.early.push(bytes);
    else write(terminal.exec, terminal, bytes);
  }

  resize(execId: string, { cols, rows }: TerminalSize): void {
    const terminal = this.#terminals.get(execId);
    if (terminal === undefined || cols === 0 || rows === 0) return;
    terminal.size = { cols, rows };
    if (terminal.exec !== undefined) void this.#setSize(terminal.exec, terminal.size);
  }

  /** Ends the process of a terminal that somebody has closed. */
  end(execId: string): void {
    this.#terminals.get(execId)?.ending.abort(new FairleadError('CANCELLED', 'the terminal was closed'));
  }

  /** Never rejects. */
  async #serve(message: ExecStart, terminal: Terminal): Promise<void> {
    const { execId } = message;
    const { signal } = terminal.ending;
    let exec: Exec;
    try {
      exec = await this.#begin(message, terminal, signal);
    } catch (error) {
      return this.#refuse(message, error, signal);
    }
    try {
      signal.throwIfAborted();
      this.#session.say({ type: 'exec_ready', execId });
      void this.#takeInput(exec, terminal);
      const sink = chunked((data) => this.#session.pass({ type: 'exec_output', execId, data }));
      await drain(exec.connection, sink, signal);
      exec.connection.destroy();
    } catch (error) {
      const isForeseen = signal.aborted || isFairleadError(this.#context.docker.explain(error));
      if (!isForeseen) this.#context.log.error({ err: error }, 'a terminal of a Dockhand server failed unexpectedly');
      if (isFairleadError(signal.reason, 'OVERLOADED')) this.#session.fail(execId, 'READ_ERROR', signal.reason.message);
      await this.#endProcess(exec, message);
    }
    this.#session.say({ type: 'exec_end', execId, reason: 'container_exit' });
  }

  async #begin({ containerId, cmd, user, attach }: ExecStart, { size }: Terminal, signal: AbortSignal): Promise<Exec> {
    const { docker, policy, log } = this.#context;
    if (attach) throw new FairleadError('UNSUPPORTED', 'this agent does not attach to containers: open a shell');
    requireKind(policy, containerExecOpen);
    log.info({ container: containerId, cmd }, 'a Dockhand server opens a terminal');
    const options = { container: containerId, cmd: [cmd], tty: true, stdin: true };
    const given = { ...(size === undefined ? {} : { size }), ...(user === '' ? {} : { user }) };
    return await Exec.start(docker, { ...options, ...given }, signal);
  }

  #refuse({ execId, attach }: ExecStart, error: unknown, signal: AbortSignal): void {
    if (signal.aborted) return void this.#session.say({ type: 'exec_end', execId, reason: 'container_exit' });
    const failure = this.#context.docker.explain(error);
    if (!isFairleadError(failure)) this.#context.log.error({ err: error }, 'a terminal could not be opened');
    const { message } = toWireError(failure);
    const status = isFairleadError(failure) ? ERRORS[failure.code].status : 500;
    const code = attach ? 'ATTACH_START_ERROR' : 'EXEC_CREATE_ERROR';
    this.#session.fail(execId, code, `exec create failed: ${status} - ${JSON.stringify({ message })}`);
  }

  /** What is typed ahead must find the terminal's size. Never rejects. */
  async #takeInput(exec: Exec, terminal: Terminal): Promise<void> {
    if (terminal.size !== undefined) await this.#setSize(exec, terminal.size);
    for (const bytes of terminal.early) write(exec, terminal, bytes);
    terminal.early = [];
    terminal.exec = exec;
  }

  /** Never rejects. */
  async #setSize(exec: Exec, size: TerminalSize): Promise<void> {
    try {
      await exec.resize(size);
    } catch (error) {
      this.#context.log.warn({ err: error, exec: exec.id }, "a terminal's size could not be set");
    }
  }

  async #endProcess(exec: Exec, { containerId }: ExecStart): Promise<void> {
    if (await exec.end()) return;
    const fact = { exec: exec.id, container: containerId };
    this.#context.log.warn(fact, 'the process of a left exec could not be ended and runs on');
  }
}

function write({ connection }: Exec, terminal: Terminal, bytes: Buffer): void {
  if (!connection.writable) return;
  connection.write(bytes, () => {
    terminal.waiting -= costOf(bytes);
  });
}

/** Many small parts take more than their bytes. */
function costOf(bytes: Buffer): number {
  return bytes.byteLength + MESSAGE_COST_BYTES;
}
