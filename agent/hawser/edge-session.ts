/** One WebSocket to a Dockhand server, from the hello on: what it asks is handed to whoever serves it, and life is watched. */
import type { RawData, WebSocket } from 'ws';
import type { Timer } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { Liveness } from '../../shared/hawser/liveness.ts';
import {
  type AgentMessage,
  errorText,
  type HawserError,
  type Hello,
  type ServerMessage,
} from '../../shared/hawser/messages.ts';
import { idIn, parseServerMessage } from '../../shared/hawser/parse.ts';
import type { LinkEnd } from '../link/outcome.ts';
import type { HawserContext } from './context.ts';
import { EdgeExecs } from './edge-execs.ts';
import { EdgeRequests } from './edge-requests.ts';
import {
  CLOSE_MS,
  MAX_INVALID,
  MAX_SAID_BYTES,
  MESSAGE_COST_BYTES,
  PING_MS,
  SILENT_MS,
  UNSENT_BYTES,
  WELCOME_MS,
} from './limits.ts';

export class EdgeSession {
  readonly #ws: WebSocket;
  readonly #context: HawserContext;
  readonly #requests: EdgeRequests;
  readonly #execs: EdgeExecs;
  readonly #ending = new AbortController();
  readonly #welcomed = Promise.withResolvers<boolean>();
  readonly #closed = Promise.withResolvers<LinkEnd>();
  readonly #liveness: Liveness;
  readonly #welcomeTimer: Timer;
  readonly #unknownTypes = new Set<string>();
  #isWelcome = false;
  #invalid = 0;
  /** Bytes of what was said and is not sent yet. */
  #said = 0;
  /** What the server said was wrong, last. */
  #complaint: { readonly reason: string; readonly retryAfterMs?: number } | undefined;

  /** @param ws is open. It is the session's from here on */
  constructor(ws: WebSocket, context: HawserContext) {
    const { clock } = context;
    this.#ws = ws;
    this.#context = context;
    this.#requests = new EdgeRequests(this, context);
    this.#execs = new EdgeExecs(this, context);
    ws.on('message', (data, isBinary) => this.#receive(data, isBinary));
    ws.on('error', (error: Error & { code?: string }) => this.#broken(error));
    ws.once('close', (code, reason) => this.#ended(code, reason.toString('utf8')));
    this.#liveness = new Liveness({
      ...{ clock, pingMs: PING_MS, silentMs: SILENT_MS },
      isBehind: () => ws.bufferedAmount >= UNSENT_BYTES,
      ping: () => this.notice({ type: 'ping', timestamp: this.#seconds() }),
      onDead: (why) => {
        if (why === 'silent') this.close(1001, 'TIMEOUT', `the server was silent for ${SILENT_MS / 1000} s`);
        else this.close(1008, 'TIMEOUT', 'the server does not read what it is sent');
      },
    });
    this.#welcomeTimer = clock.setTimeout(() => {
      this.close(1008, 'TIMEOUT', `the server did not welcome this agent within ${WELCOME_MS / 1000} s`);
    }, WELCOME_MS);
  }

  /** Resolves with whether the server has welcomed this agent. */
  get welcomed(): Promise<boolean> {
    return this.#welcomed.promise;
  }

  /** Resolves once it is over, with why. */
  get closed(): Promise<LinkEnd> {
    return this.#closed.promise;
  }

  /** Fires once it is over. */
  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  /** Resolves once nothing is left that went on by it. */
  async settled(): Promise<void> {
    await Promise.all([this.#requests.settled(), this.#execs.settled()]);
  }

  /** Says the first word. */
  greet(hello: Hello): void {
    this.say(hello);
  }

  /** Sends what somebody waits for, at once; too much of it that is not read ends the session. */
  say(message: AgentMessage): void {
    if (this.ending.aborted) return;
    const text = JSON.stringify(message);
    const bytes = Buffer.byteLength(text) + MESSAGE_COST_BYTES;
    this.#said += bytes;
    this.#ws.send(text, () => {
      this.#said -= bytes;
    });
    if (this.#said > MAX_SAID_BYTES) {
      this.close(1008, 'OVERLOADED', 'the server goes on to ask and does not read what it is sent');
    }
  }

  /** Sends a part of much, and resolves when there is room for the next one. @throws the reason of the session's end */
  async pass(message: AgentMessage): Promise<void> {
    this.ending.throwIfAborted();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ws.send(JSON.stringify(message), () => resolve());
    if (this.#ws.bufferedAmount < UNSENT_BYTES) return;
    await promise;
    this.ending.throwIfAborted();
  }

  /** Sends what nobody waits for; not to a server that does not read. */
  notice(message: AgentMessage): void {
    if (this.#isWelcome && this.#ws.bufferedAmount < UNSENT_BYTES) this.say(message);
  }

  /** Says what went wrong with a request or an exec, in both of the fields that servers read. */
  fail(requestId: string, code: string, text: string): void {
    this.say({ type: 'error', requestId, error: text, message: text, code });
  }

  /** Ends the session and all that goes on by it. Idempotent. */
  close(wsCode: number, code: string, reason: string, retryAfterMs?: number): void {
    if (this.ending.aborted) return;
    this.#liveness.close();
    this.#welcomeTimer.cancel();
    this.#ending.abort(new FairleadError('STREAM_INTERRUPTED', `the connection to the server was lost: ${reason}`));
    this.#ws.close(wsCode, code);
    const timer = this.#context.clock.setTimeout(() => this.#ws.terminate(), CLOSE_MS);
    if (this.#ws.readyState === this.#ws.CLOSED) timer.cancel();
    else this.#ws.once('close', () => timer.cancel());
    this.#welcomed.resolve(false);
    this.#closed.resolve({ code, reason, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
  }

  #broken(error: Error & { code?: string }): void {
    const isTooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
    if (isTooLarge)
      this.close(1009, 'FRAME_TOO_LARGE', 'the server sent a message that is too large: an upload of files');
    else this.close(1002, 'PROTOCOL_ERROR', `the server broke the protocol of WebSockets: ${error.message}`);
  }

  #ended(wsCode: number, said: string): void {
    const clean = said.replace(/\p{Cc}+/gu, ' ').slice(0, 200);
    const reason = this.#complaint?.reason ?? (clean === '' ? `its connection ended (${wsCode})` : clean);
    const isReplaced = this.#isWelcome && /replaced|regenerated/i.test(`${clean} ${reason}`);
    const code = isReplaced ? 'REPLACED' : this.#isWelcome ? 'STREAM_INTERRUPTED' : 'REFUSED';
    this.close(1000, code, `the Dockhand server says: ${reason}`, this.#complaint?.retryAfterMs);
  }

  #seconds(): number {
    return Math.floor(this.#context.clock.now() / 1000);
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.ending.aborted) return;
    this.#liveness.heard();
    const text = (data as Buffer).toString('utf8');
    try {
      if (isBinary) throw new FairleadError('MESSAGE_INVALID', 'the server sent a binary message');
      const parsed = parseServerMessage(text);
      if ('unknownType' in parsed) this.#unknown(parsed.unknownType);
      else if (this.#isWelcome) this.#take(parsed.message, text);
      else this.#first(parsed.message);
    } catch (error) {
      if (isFairleadError(error)) return void this.#notValid(error, text);
      // Thrown on, it would end the process.
      this.#context.log.error({ err: error }, 'a message of a Dockhand server could not be handled');
      this.close(1011, 'INTERNAL', 'the agent failed; its log says why');
    }
  }

  /** What comes before the welcome, and that itself. */
  #first(message: ServerMessage): void {
    if (message.type === 'welcome') {
      this.#isWelcome = true;
      this.#welcomeTimer.cancel();
      this.#welcomed.resolve(true);
    } else if (message.type === 'error') {
      this.#note(message);
      this.#ended(1008, '');
    } else if (message.type !== 'ping' && message.type !== 'pong') {
      this.close(1002, 'PROTOCOL_ERROR', `the server began with ${message.type} instead of a welcome`);
    }
  }

  #take(message: ServerMessage, text: string): void {
    switch (message.type) {
      case 'request':
        return void this.#requests.begin(message, text);
      case 'stream_end':
        return void this.#requests.cancel(message.requestId);
      case 'exec_start':
        return void this.#execs.start(message);
      case 'exec_input':
        return void this.#execs.input(message.execId, message.data);
      case 'exec_resize':
        return void this.#execs.resize(message.execId, message);
      case 'exec_end':
        return void this.#execs.end(message.execId);
      case 'ping':
        return void this.notice({ type: 'pong', timestamp: this.#seconds() });
      case 'error':
        return void this.#note(message);
      default:
      // A pong, or a second welcome: that something came is all that they say.
    }
  }

  #note(message: HawserError): void {
    const reason = errorText(message)
      .replace(/\p{Cc}+/gu, ' ')
      .slice(0, 200);
    const { retryAfter } = message;
    this.#complaint = { reason, ...(retryAfter === undefined ? {} : { retryAfterMs: retryAfter * 1000 }) };
    this.#context.log.warn({ reason }, 'the Dockhand server reports an error');
  }

  #unknown(type: string): void {
    if (this.#unknownTypes.has(type) || this.#unknownTypes.size >= 16) return;
    this.#unknownTypes.add(type);
    this.#context.log.warn({ type }, 'the Dockhand server sends messages of a type that this version does not know');
  }

  #notValid(error: FairleadError, text: string): void {
    this.#invalid++;
    this.#context.log.warn({ reason: error.message }, 'the Dockhand server sent a message that is not valid');
    if (this.#invalid >= MAX_INVALID) {
      return void this.close(1008, 'PROTOCOL_ERROR', 'the server sent too many messages that are not valid');
    }
    const id = idIn(text);
    if (id !== undefined) this.fail(id, 'PARSE_ERROR', error.message);
  }
}
