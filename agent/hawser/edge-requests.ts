/** Requests of a Dockhand server in Edge mode: each is put to Docker as the host's policy permits it, and answered whole or streamed. */
import { Writable } from 'node:stream';
import { ERRORS, FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { Gathered } from '../../shared/gathered.ts';
import { type HawserRequest, MAX_AGENT_MESSAGE_BYTES } from '../../shared/hawser/messages.ts';
import { dockerRequest } from '../../shared/messages/docker.ts';
import { type AnswerHead, runRequest } from '../docker/client-exchange.ts';
import { composeFailure, composeRequest, isOperation, runCompose } from './compose.ts';
import type { HawserContext } from './context.ts';
import { type Asked, type AskedBase, type AskedCompose, type AskedDocker, askedBy, heldFor } from './edge-asked.ts';
import { chunked, responseBody, responseHeaders } from './edge-body.ts';
import type { EdgeSession } from './edge-session.ts';
import { MAX_HELD_BYTES, MAX_REQUESTS, MAX_STREAMS, MAX_TAKEN_BYTES, REQUEST_MS } from './limits.ts';

/** The largest answer that fits into a message, as base64. */
const MAX_WHOLE_BYTES = Math.floor(((MAX_AGENT_MESSAGE_BYTES - 128 * 1024) / 4) * 3);

interface Running {
  readonly asked: Asked;
  readonly ending: AbortController;
  readonly done: Promise<void>;
}

export class EdgeRequests {
  readonly #session: EdgeSession;
  readonly #context: HawserContext;
  readonly #running = new Map<string, Running>();
  #held = 0;

  constructor(session: EdgeSession, context: HawserContext) {
    this.#session = session;
    this.#context = context;
  }

  /** Resolves once nothing goes on any more. */
  async settled(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  /** @param text the whole message, as it came; it is kept no longer than this call. Never throws what a server can bring about */
  begin(request: HawserRequest, text: string): void {
    const { requestId } = request;
    const isStream = request.streaming === true;
    const running = [...this.#running.values()].map(({ asked }) => asked);
    const others = running.filter((one) => one.isStream === isStream).length;
    if (this.#running.has(requestId)) {
      return void this.#session.fail(requestId, 'PARSE_ERROR', 'a request with this id is in progress already');
    }
    if (others >= (isStream ? MAX_STREAMS : MAX_REQUESTS)) {
      const why = `this agent has ${others} ${isStream ? 'streams' : 'requests'} open already`;
      return void this.#refuse({ requestId, isStream }, why);
    }
    let asked: Asked;
    try {
      asked = askedBy(request, text);
    } catch (error) {
      if (!isFairleadError(error)) throw error;
      return void this.#fail({ requestId, isStream }, error);
    }
    const held = running.reduce((sum, one) => sum + heldFor(one), 0);
    if (heldFor(asked) > 0 && held + heldFor(asked) > MAX_TAKEN_BYTES) {
      return void this.#refuse(asked, `this agent holds ${held} bytes of requests already that Docker has not taken`);
    }
    this.#run(asked);
  }

  #refuse({ requestId, isStream }: AskedBase, why: string): void {
    this.#session.fail(requestId, 'SESSION_LIMIT', why);
    if (isStream) this.#session.say({ type: 'stream_end', requestId, reason: 'error' });
  }

  #run(asked: Asked): void {
    const ending = new AbortController();
    const onEnd = () => ending.abort(this.#session.ending.reason);
    this.#session.ending.addEventListener('abort', onEnd);
    const done = this.#serve(asked, ending).finally(() => {
      this.#session.ending.removeEventListener('abort', onEnd);
      this.#running.delete(asked.requestId);
    });
    this.#running.set(asked.requestId, { asked, ending, done });
  }

  /** Ends a request that nobody waits for any more. */
  cancel(requestId: string): void {
    this.#running.get(requestId)?.ending.abort(new FairleadError('CANCELLED', 'the server ended the request'));
  }

  /** Never rejects. */
  async #serve(asked: Asked, ending: AbortController): Promise<void> {
    const { log, docker } = this.#context;
    const { requestId, isStream } = asked;
    try {
      if ('compose' in asked) {
        await this.#compose(asked, ending.signal);
        if (isStream) this.#session.say({ type: 'stream_end', requestId, reason: 'completed' });
      } else if (isStream) await this.#stream(asked, ending.signal);
      else await this.#whole(asked, ending);
    } catch (error) {
      const failure = docker.explain(error);
      if (!isFairleadError(failure)) log.error({ err: error }, 'a request of a Dockhand server failed unexpectedly');
      if (ending.signal.aborted && !isFairleadError(ending.signal.reason, 'TIMEOUT')) {
        if (isStream) this.#session.say({ type: 'stream_end', requestId, reason: 'completed' });
        return;
      }
      this.#fail(asked, failure);
    }
  }

  #fail({ requestId, isStream }: AskedBase, error: unknown): void {
    const { message } = toWireError(error);
    if (isStream) {
      const hasBegun = isFairleadError(error, 'STREAM_INTERRUPTED');
      this.#session.fail(requestId, hasBegun ? 'READ_ERROR' : 'DOCKER_ERROR', message);
      // Without it the server would wait for ever.
      return void this.#session.say({ type: 'stream_end', requestId, reason: 'error' });
    }
    const statusCode = isFairleadError(error) ? ERRORS[error.code].status : 500;
    const headers = { 'Content-Type': 'application/json' };
    this.#session.say({ type: 'response', requestId, statusCode, headers, body: JSON.stringify({ message }) });
  }

  /** Runs the exchange with Docker into `sink`. */
  async #exchange(asked: AskedDocker, sink: Writable, aborted: AbortSignal): Promise<AnswerHead> {
    const { method, target, headers, body } = asked;
    let head: AnswerHead | undefined;
    const client = {
      ...{ kind: dockerRequest, request: { method, target, headers } },
      ...{ source: body, sink, aborted },
      sendReply: (given: AnswerHead) => {
        head = given;
      },
      finish: () => undefined,
    };
    await runRequest(client, body.byteLength || 'none', this.#context);
    if (head === undefined) throw new Error('an exchange ends with an answer');
    return head;
  }

  async #stream(asked: AskedDocker, aborted: AbortSignal): Promise<void> {
    const { requestId } = asked;
    const sink = chunked((data) => this.#session.pass({ type: 'stream', requestId, data }));
    await this.#exchange(asked, sink, aborted);
    this.#session.say({ type: 'stream_end', requestId, reason: 'completed' });
  }

  async #whole(asked: AskedDocker, ending: AbortController): Promise<void> {
    const { requestId } = asked;
    const { clock } = this.#context;
    const late = new FairleadError('TIMEOUT', `Docker was not done within ${REQUEST_MS / 1000} s`);
    const timer = clock.setTimeout(() => ending.abort(late), REQUEST_MS);
    const gathered = new Gathered(MAX_WHOLE_BYTES);
    let held = 0;
    const sink = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        const isRoom = this.#held + chunk.byteLength <= MAX_HELD_BYTES;
        if (!isRoom || !gathered.add(chunk)) return done(tooLarge(isRoom));
        held += chunk.byteLength;
        this.#held += chunk.byteLength;
        done();
      },
    });
    try {
      const { status, headers } = await this.#exchange(asked, sink, ending.signal);
      const body = responseBody(gathered.bytes(), headers);
      const head = { statusCode: status, headers: responseHeaders(headers) };
      // Held until the server takes it.
      await this.#session.pass({ type: 'response', requestId, ...head, ...body });
    } finally {
      timer.cancel();
      this.#held -= held;
    }
  }

  async #compose({ requestId, compose: body }: AskedCompose, aborted: AbortSignal): Promise<void> {
    let request: ReturnType<typeof composeRequest>;
    try {
      if (body === undefined) throw new FairleadError('VALIDATION', 'unexpected end of JSON input');
      request = composeRequest(body);
    } catch (error) {
      if (!isFairleadError(error)) throw error;
      return this.#session.fail(requestId, 'PARSE_ERROR', error.message);
    }
    const { operation, streamOutput } = request;
    if (!isOperation(operation)) {
      return this.#session.fail(requestId, 'COMPOSE_ERROR', `unsupported compose operation: ${operation}`);
    }
    const line = async (text: string) => {
      await this.#session.pass({ type: 'stream', requestId, data: Buffer.from(`${text}\n`).toString('base64') });
    };
    const caller = { aborted, ...(streamOutput ? { line } : {}) };
    const reply = await runCompose(request, this.#context, caller).catch((error: unknown) => {
      if (aborted.aborted || !isFairleadError(error)) throw error;
      return composeFailure(error.message, 1);
    });
    const statusCode = reply.success ? 200 : 500;
    this.#session.say({ type: 'response', requestId, statusCode, body: JSON.stringify(reply) });
  }
}

function tooLarge(isRoom: boolean): FairleadError {
  return isRoom
    ? new FairleadError('PAYLOAD_TOO_LARGE', 'the answer is too large for one message: ask for it as a stream')
    : new FairleadError('OVERLOADED', 'too many large answers wait to be sent: ask again, or for a stream');
}
