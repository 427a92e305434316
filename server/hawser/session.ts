/** One agent's WebSocket after its hello: its messages are read and handed to whoever waits for them, and life is watched. */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { RawData, WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { Liveness } from '../../shared/hawser/liveness.ts';
import {
  type AgentMessage,
  errorText,
  type HawserMetrics,
  type HawserResponse,
  type ServerMessage,
} from '../../shared/hawser/messages.ts';
import { fromBase64, idIn, parseAgentMessage } from '../../shared/hawser/parse.ts';
import { Budget } from '../../shared/mux/budget.ts';
import { countStreamedBytes } from '../../shared/young-heap.ts';
import { keepRecent } from '../keep-recent.ts';
import { agentFailure, misplaced } from './agent-failure.ts';
import { endSocket } from './end-socket.ts';
import { InboundGate } from './inbound-gate.ts';
import {
  DROPPED,
  END_AGAIN_MS,
  INVALID,
  MAX_ENDED,
  MAX_OPEN,
  MAX_UNSENT_BYTES,
  NOTICES,
  PING_MS,
  SILENT_MS,
  UNSENT_NOTICE_BYTES,
} from './limits.ts';

/** Waits for what the agent says of one request or exec. Whichever way it ends, it is told once. */
export interface Receiver {
  /** What it is, for an agent that is to end it. */
  readonly sort: 'request' | 'exec';
  response?(message: HawserResponse): void;
  ready?(): void;
  data?(bytes: Buffer): void;
  end(): void;
  fail(error: FairleadError): void;
}

/** What the agent said that had no place. */
export interface Oddities {
  unknownTypes: number;
  unknownIds: number;
  invalid: number;
  dropped: number;
}

export interface HawserSessionOptions {
  readonly ws: WebSocket;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'debug' | 'warn' | 'error'>;
  readonly gate?: InboundGate;
  onMetrics?(message: HawserMetrics): void;
}

export class HawserSession {
  readonly clock: Clock;
  readonly gate: InboundGate;
  readonly oddities: Oddities = { unknownTypes: 0, unknownIds: 0, invalid: 0, dropped: 0 };
  readonly #options: HawserSessionOptions;
  readonly #ws: WebSocket;
  readonly #receivers = new Map<string, Receiver>();
  /** When those were told last that they have ended, by their id. */
  readonly #ended = new Map<string, number>();
  readonly #unknownTypes = new Set<string>();
  readonly #notices: Budget;
  readonly #dropped: Budget;
  readonly #wrong: Budget;
  readonly #liveness: Liveness;
  #pongs: { sentAt: number; resolve(ms: number): void; reject(error: FairleadError): void }[] = [];
  #lastSeenAt: number;
  #end: FairleadError | undefined;
  readonly #closed = Promise.withResolvers<FairleadError>();

  constructor(options: HawserSessionOptions) {
    const { ws, clock } = options;
    this.#options = options;
    this.#ws = ws;
    this.clock = clock;
    this.gate = options.gate ?? new InboundGate({ clock, pause: () => ws.pause(), resume: () => ws.resume() });
    const budget = ({ perSecond, burst }: typeof NOTICES) => new Budget(perSecond, burst, clock.monotonic());
    this.#notices = budget(NOTICES);
    this.#dropped = budget(DROPPED);
    this.#wrong = budget(INVALID);
    this.#lastSeenAt = clock.now();
    ws.on('message', (data, isBinary) => this.#receive(data, isBinary));
    ws.on('error', (error: Error & { code?: string }) => this.#broken(error));
    ws.once('close', (code) => this.close('STREAM_INTERRUPTED', `the agent's connection ended (${code})`));
    this.#liveness = new Liveness({
      ...{ clock, pingMs: PING_MS, silentMs: SILENT_MS },
      isBehind: () => ws.bufferedAmount > UNSENT_NOTICE_BYTES,
      ping: () => this.#sendNotice({ type: 'ping', timestamp: clock.now() }),
      onDead: (why) => {
        if (why === 'silent') this.close('TIMEOUT', `the agent was silent for ${SILENT_MS / 1000} s`);
        else this.close('TIMEOUT', 'the agent does not read what it is sent');
      },
    });
  }

  /** Resolves once the session is over, with the cause. */
  get closed(): Promise<FairleadError> {
    return this.#closed.promise;
  }

  /** ms since 1970. */
  get lastSeenAt(): number {
    return this.#lastSeenAt;
  }

  get open(): number {
    return this.#receivers.size;
  }

  /**
   * Has `receiver` told of what comes under a new id, until it is told of an end or `release` is called.
   * @throws FairleadError HOST_OFFLINE, OVERLOADED
   */
  begin(receiver: Receiver): string {
    if (this.#end !== undefined)
      throw new FairleadError('HOST_OFFLINE', 'the host is not connected; it comes back by itself');
    if (this.#receivers.size >= MAX_OPEN) {
      throw new FairleadError('OVERLOADED', `the host has ${MAX_OPEN} requests in progress already`);
    }
    const id = randomUUID();
    this.#receivers.set(id, receiver);
    return id;
  }

  /** Nobody waits under `id` any more; what the agent still sends is answered by its end. @param tell whether it is told now */
  release(id: string, tell: boolean): void {
    const receiver = this.#receivers.get(id);
    if (receiver === undefined) return;
    this.#receivers.delete(id);
    if (tell) this.#tellEnd(id, receiver.sort);
  }

  /** Sends what somebody waits for. @throws FairleadError OVERLOADED for an agent that does not read */
  send(message: ServerMessage | string): void {
    const text = typeof message === 'string' ? message : JSON.stringify(message);
    if (this.#ws.bufferedAmount + text.length > MAX_UNSENT_BYTES) {
      throw new FairleadError('OVERLOADED', 'the agent does not read what it is sent');
    }
    this.#ws.send(text);
  }

  /** The round trip to the agent, in ms. @throws FairleadError STREAM_INTERRUPTED, OVERLOADED */
  ping(): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    if (this.#end !== undefined) reject(this.#end);
    else if (this.#pongs.length >= MAX_OPEN)
      reject(new FairleadError('OVERLOADED', 'too many pings wait for the agent'));
    else {
      // A pong does not say which ping it answers: the next one answers all that were sent before.
      this.#pongs.push({ sentAt: this.clock.monotonic(), resolve, reject });
      this.#sendNotice({ type: 'ping', timestamp: this.clock.now() });
    }
    return promise;
  }

  /** Ends the session: the agent is told why, and everybody who waits for it. Idempotent. */
  close(code: ErrorCode, reason: string): void {
    if (this.#end !== undefined) return;
    const error = new FairleadError(code, reason);
    this.#end = error;
    this.#liveness.close();
    this.gate.close();
    endSocket(this.#ws, this.clock, error);
    const why = new FairleadError('STREAM_INTERRUPTED', `the connection to the host was lost: ${reason}`);
    for (const receiver of this.#receivers.values()) receiver.fail(why);
    this.#receivers.clear();
    for (const waiting of this.#pongs) waiting.reject(why);
    this.#pongs = [];
    this.#closed.resolve(error);
  }

  #broken(error: Error & { code?: string }): void {
    const isTooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
    if (isTooLarge)
      this.close('FRAME_TOO_LARGE', 'the agent sent a message that is too large: an answer that cannot be streamed');
    else this.close('PROTOCOL_ERROR', `the agent broke the protocol of WebSockets: ${error.message}`);
  }

  /** Sends what nobody waits for; not to an agent that does not read. */
  #sendNotice(message: ServerMessage): void {
    if (this.#end === undefined && this.#ws.bufferedAmount < UNSENT_NOTICE_BYTES)
      this.#ws.send(JSON.stringify(message));
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#end !== undefined) return;
    this.#liveness.heard();
    this.#lastSeenAt = this.clock.now();
    const bytes = data as Buffer;
    countStreamedBytes(bytes.byteLength);
    const text = bytes.toString('utf8');
    try {
      if (isBinary) throw new FairleadError('MESSAGE_INVALID', 'the agent sent a binary message');
      const parsed = parseAgentMessage(text);
      if ('unknownType' in parsed) this.#unknown(parsed.unknownType);
      else this.#take(parsed.message);
    } catch (error) {
      if (isFairleadError(error)) return void this.#invalid(error, text);
      // Thrown on, it would end the process, with the sessions of all other hosts.
      this.#options.log.error({ err: error }, 'a message of a Hawser agent could not be handled');
      this.close('INTERNAL', 'the server failed; its log says why');
    }
  }

  #take(message: AgentMessage): void {
    switch (message.type) {
      case 'response':
        return void this.#finish(message.requestId, (receiver) => {
          if (receiver.response === undefined) receiver.fail(misplaced(message.type));
          else receiver.response(message);
        });
      case 'stream':
        return void this.#data(message.requestId, 'request', message.data);
      case 'exec_output':
        return void this.#data(message.execId, 'exec', message.data);
      case 'stream_end':
        return void this.#finish(message.requestId, (receiver) => receiver.end());
      case 'exec_end':
        return void this.#finish(message.execId, (receiver) => receiver.end());
      case 'exec_ready':
        return void this.#begun(message.execId);
      case 'error':
        return void this.#failed(message.requestId, message.code, errorText(message));
      default:
        return void this.#notice(message);
    }
  }

  /** What comes by itself, and is worth no more than its rate. */
  #notice(message: AgentMessage): void {
    if (!this.#notices.take(this.clock.monotonic())) return void this.#drop();
    switch (message.type) {
      case 'ping':
        return void this.#sendNotice({ type: 'pong', timestamp: this.clock.now() });
      case 'pong':
        return void this.#answerPings();
      case 'metrics':
        return void this.#options.onMetrics?.(message);
      case 'container_event':
        // Taken and not used: host.events reads Docker's own stream, for the reasons that host-feeds.ts gives.
        return;
      default:
        // A second hello: whoever it is, it is known already.
        this.oddities.unknownIds++;
    }
  }

  #answerPings(): void {
    const answered = this.#pongs;
    this.#pongs = [];
    for (const { sentAt, resolve } of answered) resolve(this.clock.monotonic() - sentAt);
  }

  /** An exec that was left before it began has to be told again, or it stays in its container. */
  #begun(id: string): void {
    const receiver = this.#receivers.get(id);
    if (receiver?.ready === undefined) this.#tellEnd(id, 'exec');
    else receiver.ready();
  }

  #data(id: string, sort: Receiver['sort'], data: string): void {
    const receiver = this.#receivers.get(id);
    if (receiver?.data === undefined || receiver.sort !== sort) return void this.#tellEnd(id, sort);
    receiver.data(fromBase64(data));
  }

  #finish(id: string, tell: (receiver: Receiver) => void): void {
    const receiver = this.#receivers.get(id);
    this.#ended.delete(id);
    if (receiver === undefined) {
      this.oddities.unknownIds++;
      return;
    }
    this.#receivers.delete(id);
    tell(receiver);
  }

  #failed(id: string | undefined, code: string | undefined, text: string): void {
    this.#options.log.debug({ code }, 'a Hawser agent reports an error');
    if (id === undefined || id === '') return;
    this.#finish(id, (receiver) => receiver.fail(agentFailure(code, text)));
  }

  /** Ends of streams get lost when they overtake their request: whatever still comes is answered by another one. */
  #tellEnd(id: string, sort: Receiver['sort']): void {
    const now = this.clock.monotonic();
    if (now - (this.#ended.get(id) ?? Number.NEGATIVE_INFINITY) < END_AGAIN_MS) return;
    keepRecent(this.#ended, id, now, MAX_ENDED);
    if (sort === 'exec') this.#sendNotice({ type: 'exec_end', execId: id, reason: 'user_closed' });
    else this.#sendNotice({ type: 'stream_end', requestId: id, reason: 'cancelled' });
  }

  #unknown(type: string): void {
    if (!this.#notices.take(this.clock.monotonic())) return void this.#drop();
    this.oddities.unknownTypes++;
    if (this.#unknownTypes.has(type) || this.#unknownTypes.size >= 16) return;
    this.#unknownTypes.add(type);
    this.#options.log.warn({ type }, 'a Hawser agent sends messages of a type that this version does not know');
  }

  #invalid(error: FairleadError, text: string): void {
    this.oddities.invalid++;
    if (this.oddities.invalid === 1)
      this.#options.log.warn({ reason: error.message }, 'a Hawser agent sent a message that is not valid');
    if (!this.#wrong.take(this.clock.monotonic()))
      return void this.close('PROTOCOL_ERROR', 'the agent sent too many messages that are not valid');
    const id = idIn(text);
    const receiver = id === undefined ? undefined : this.#receivers.get(id);
    if (id === undefined || receiver === undefined) return;
    this.release(id, true);
    receiver.fail(error);
  }

  #drop(): void {
    this.oddities.dropped++;
    if (this.#dropped.take(this.clock.monotonic())) return;
    this.close('PROTOCOL_ERROR', 'the agent sends too many messages');
  }
}
