/** One agent of Hawser in Standard mode, which is dialled for each request: what is sent to it, and its answers at their pace. */
import type { Clock } from '../../../shared/clock.ts';
import { answerFailure } from '../../../shared/docker/answer-failure.ts';
import { isClosedByPeer } from '../../../shared/docker/connection.ts';
import { readText } from '../../../shared/docker/json.ts';
import type { BareConnection, RawAnswer, RawExchange, RawRequest } from '../../../shared/docker/raw-exchange.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { Gathered } from '../../../shared/gathered.ts';
import type { MemoryPool } from '../../../shared/mux/memory-pool.ts';
import type { Answer, AskOptions, HawserCall } from '../ask.ts';
import { HeldBytes, type Sink } from '../held-bytes.ts';
import { unsupported } from '../kind.ts';
import { MAX_OPEN, REQUEST_GRACE_MS, REQUEST_MS } from '../limits.ts';
import type { HawserTransport, Terminal } from '../transport.ts';
import { WholeAnswers } from '../whole-answers.ts';
import { bodyOf, refuseAgent } from './agent-answer.ts';
import type { Connections } from './connections.ts';
import { type AnsweredCall, EndCheck } from './end-check.ts';
import { MAX_REFUSAL_BYTES, MAX_WHOLE_BYTES } from './limits.ts';
import { Pace } from './pace.ts';

export interface StandardTransportOptions {
  readonly connections: Connections;
  readonly clock: Clock;
  /** What the streams of all agents may take together; unlimited if absent. */
  readonly memory?: MemoryPool | undefined;
  /** A request could not be sent, or was broken off. Must return at once, and not throw. */
  readonly onTrouble?: () => void;
}

/** How the connection of an exec ends. */
export interface BareEnds {
  /** Its reader has left. */
  readonly onLeave: () => void;
  /**
   * Asked once it has ended or was broken off, whether that was the end. Rejects if it was not: the process goes on.
   * @param isBroken it did not end, which Docker may do that leaves input unread
   */
  readonly confirm: (isBroken: boolean) => Promise<void>;
}

/** A request on its way. */
export interface Begun extends RawExchange {
  readonly call: AnsweredCall;
  /** Monotonic, ms. */
  readonly sentAt: number;
}

export class StandardTransport implements HawserTransport {
  readonly clock: Clock;
  readonly wholes: WholeAnswers;
  readonly #connections: Connections;
  readonly #memory: MemoryPool | undefined;
  readonly #onTrouble: (() => void) | undefined;
  readonly #open = new Set<RawExchange>();
  readonly #closed = Promise.withResolvers<FairleadError>();
  #end: FairleadError | undefined;
  #lastSeenAt: number;

  constructor({ connections, clock, memory, onTrouble }: StandardTransportOptions) {
    this.#onTrouble = onTrouble;
    this.#connections = connections;
    this.clock = clock;
    this.#memory = memory;
    this.wholes = new WholeAnswers({ clock, memory });
    this.#lastSeenAt = clock.now();
  }

  get closed(): Promise<FairleadError> {
    return this.#closed.promise;
  }

  get lastSeenAt(): number {
    return this.#lastSeenAt;
  }

  /** Requests that are in progress. */
  get open(): number {
    return this.#open.size;
  }

  /**
   * Sends a request, whose body is the caller's affair unless it has none. It ends with the transport.
   * @throws FairleadError HOST_OFFLINE, OVERLOADED, MESSAGE_INVALID
   */
  begin(request: RawRequest): Begun {
    if (this.#end !== undefined)
      throw new FairleadError('HOST_OFFLINE', 'the host is not connected; it comes back by itself');
    if (this.#open.size >= MAX_OPEN)
      throw new FairleadError('OVERLOADED', `the host has ${MAX_OPEN} requests in progress already`);
    const exchange = this.#connections.begin(request);
    this.#open.add(exchange);
    void exchange.ended.then(() => this.#open.delete(exchange));
    exchange.answer.catch(() => undefined);
    const call = { method: request.method, path: request.target };
    return { ...exchange, call, sentAt: this.clock.monotonic() };
  }

  /** The head of Docker's answer. @throws FairleadError what the agent says in Docker's place, HOST_OFFLINE, STREAM_INTERRUPTED */
  async head(begun: Begun): Promise<RawAnswer> {
    const answer = await begun.answer.catch((error: unknown) => {
      if (this.#end === undefined) this.#onTrouble?.();
      throw this.#why(error);
    });
    this.#lastSeenAt = this.clock.now();
    await refuseAgent(answer);
    return answer;
  }

  /** The body of an answer, at the pace of its reader; what was cut off fails. Destroyed, it ends the exchange. */
  body(begun: Begun, answer: RawAnswer): HeldBytes {
    const pace = new Pace();
    const bytes = new HeldBytes(pace, () => begun.destroy());
    this.#flow(begun, answer, bytes, pace);
    return bytes;
  }

  /** A connection that was handed over: what comes out of it, to its end, and by `sink` what goes into it. */
  bare({ source }: BareConnection, sink: Sink, { onLeave, confirm }: BareEnds): HeldBytes {
    const pace = new Pace();
    const bytes = new HeldBytes(pace, onLeave, sink);
    let hasEnded = false;
    const end = (isBroken: boolean) => {
      if (hasEnded) return;
      hasEnded = true;
      if (isBroken) this.#onTrouble?.();
      confirm(isBroken).then(
        () => bytes.finish(),
        (error: unknown) => bytes.destroy(this.#why(error)),
      );
    };
    source.on('error', (error) => {
      if (isClosedByPeer(error)) end(true);
      else bytes.destroy(this.#why(error));
    });
    source.once('end', () => end(false)).once('close', () => end(true));
    source.on('data', (chunk: Buffer) => bytes.receive(chunk));
    pace.of(source);
    return bytes;
  }

  async ask(call: HawserCall, { signal, timeoutMs = REQUEST_MS + REQUEST_GRACE_MS }: AskOptions = {}): Promise<Answer> {
    signal?.throwIfAborted();
    const begun = this.#send(call);
    const { promise: ending, reject } = Promise.withResolvers<never>();
    const late = new FairleadError('TIMEOUT', `the host did not answer within ${timeoutMs / 1000} s`);
    const timer = this.clock.setTimeout(() => reject(late), timeoutMs);
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    const whole = this.#whole(begun);
    whole.catch(() => undefined);
    try {
      return await Promise.race([whole, ending]);
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
      begun.destroy();
    }
  }

  stream(call: HawserCall): HeldBytes {
    const begun = this.#send(call);
    const pace = new Pace();
    const bytes = new HeldBytes(pace, () => begun.destroy());
    void this.#carry(begun, bytes, pace);
    return bytes;
  }

  async openTerminal(): Promise<Terminal> {
    throw unsupported("Hawser's own exec: the agent listens, and Docker's is used");
  }

  async ping(): Promise<number> {
    const at = this.clock.monotonic();
    try {
      await this.ask({ method: 'GET', path: '/_hawser/health' });
    } catch (error) {
      if (!isFairleadError(error, 'HOST_OFFLINE')) throw error;
      throw new FairleadError('STREAM_INTERRUPTED', error.message, { cause: error });
    }
    return this.clock.monotonic() - at;
  }

  close(code: ErrorCode, reason: string): void {
    if (this.#end !== undefined) return;
    this.#end = new FairleadError(code, reason);
    for (const exchange of [...this.#open]) exchange.destroy();
    this.#connections.close();
    this.#closed.resolve(this.#end);
  }

  #send({ method, path, headers = {}, json, binary }: HawserCall): Begun {
    const body = json === undefined ? binary : Buffer.from(json, 'utf8');
    const begun = this.begin({
      ...{ method, target: path, headers: Object.entries(headers).map(([name, value]) => [name, value]) },
      body: body === undefined ? 'none' : body.byteLength,
    });
    if (body !== undefined) begun.body.end(body);
    return begun;
  }

  async #whole(begun: Begun): Promise<Answer> {
    const answer = await this.head(begun);
    const { status, headers } = answer;
    const check = new EndCheck(begun.call, answer);
    const gathered = new Gathered(MAX_WHOLE_BYTES);
    try {
      for await (const chunk of bodyOf(answer) as AsyncIterable<Buffer>) {
        check.add(chunk);
        this.#gather(gathered, chunk);
      }
    } catch (error) {
      throw this.#why(error);
    } finally {
      this.#memory?.count(-gathered.length);
    }
    const failure = check.failure(this.clock.monotonic() - begun.sentAt);
    if (failure !== undefined) throw failure;
    return { status, headers: Object.fromEntries(headers), body: gathered.bytes() };
  }

  /** @throws FairleadError PAYLOAD_TOO_LARGE, OVERLOADED */
  #gather(gathered: Gathered, chunk: Buffer): void {
    if (this.#memory?.hasRoom(chunk.byteLength) === false)
      throw new FairleadError('OVERLOADED', 'the streams of all hosts take all the memory that they may');
    const before = gathered.length;
    const isAll = gathered.add(chunk);
    this.#memory?.count(gathered.length - before);
    if (!isAll) throw new FairleadError('PAYLOAD_TOO_LARGE', `the answer is larger than ${MAX_WHOLE_BYTES} bytes`);
  }

  async #carry(begun: Begun, bytes: HeldBytes, pace: Pace): Promise<void> {
    try {
      const answer = await this.head(begun);
      if (answer.status >= 400) throw answerFailure(answer.status, await readText(bodyOf(answer), MAX_REFUSAL_BYTES));
      this.#flow(begun, answer, bytes, pace);
    } catch (error) {
      bytes.destroy(this.#why(error));
    }
  }

  #flow(begun: Begun, answer: RawAnswer, bytes: HeldBytes, pace: Pace): void {
    const source = bodyOf(answer);
    const check = new EndCheck(begun.call, answer);
    source.on('error', (error) => {
      if (this.#end === undefined) this.#onTrouble?.();
      bytes.destroy(this.#why(error));
    });
    source.once('close', () => {
      if (!source.readableEnded)
        bytes.destroy(this.#why(new FairleadError('STREAM_INTERRUPTED', 'the answer broke off')));
    });
    source.once('end', () => {
      const failure = check.failure(this.clock.monotonic() - begun.sentAt);
      if (failure === undefined) bytes.finish();
      else bytes.destroy(failure);
    });
    source.on('data', (chunk: Buffer) => {
      check.add(chunk);
      bytes.receive(chunk);
    });
    pace.of(source);
  }

  /** What went wrong, for whoever waits: the end of the transport where that is why. */
  #why(error: unknown): FairleadError {
    const end = this.#end;
    if (end === undefined) return this.#connections.explain(error);
    return new FairleadError('STREAM_INTERRUPTED', `the connection to the host was lost: ${end.message}`);
  }
}
