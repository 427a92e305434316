/** A client of Standard mode at its own connection: its request as Docker gets it, and the answers that it gets. */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { addAbortSignal, type Duplex, Readable } from 'node:stream';
import type { Clock } from '../../shared/clock.ts';
import { endToEnd, type HeaderPair, isForNeighbour } from '../../shared/docker/headers.ts';
import type { RawRequest } from '../../shared/docker/raw-exchange.ts';
import { ERRORS, FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { Gathered } from '../../shared/gathered.ts';
import { dockerRequest, dockerUpgrade } from '../../shared/messages/docker.ts';
import type { AnswerHead, ExchangeClient } from '../docker/client-exchange.ts';
import { requireNormal } from './context.ts';
import { END_MS, WHOLE_BODY_MS } from './limits.ts';

/** Shows who may ask this agent, and nobody else. */
export const TOKEN_HEADER = 'x-hawser-token';

/** What Docker hands its connection over for. */
const UPGRADED = /^[^?]*(?:\/containers\/.+\/attach(?:\/ws)?|\/exec\/.+\/start|\/session|\/grpc)(?:\?|$)/;

/** Whether a request asks for an upgrade that Docker has; any other is answered as if it asked for none. */
export function asksForUpgrade({ url = '' }: IncomingMessage): boolean {
  return UPGRADED.test(url);
}

export class HttpClient {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly address: string;
  /** Fires when the client is gone, or is to go. */
  readonly aborted: AbortSignal;
  readonly #ending = new AbortController();
  readonly #clock: Clock;
  /** Present as long as an upgrade is asked for and not answered. */
  #bare: Duplex | undefined;
  /** The connection, once it is bare bytes. */
  #joined: Duplex | undefined;

  private constructor(request: IncomingMessage, response: ServerResponse, clock: Clock) {
    this.request = request;
    this.response = response;
    this.address = request.socket.remoteAddress ?? '';
    this.aborted = this.#ending.signal;
    this.#clock = clock;
  }

  static ofRequest(request: IncomingMessage, response: ServerResponse, clock: Clock): HttpClient {
    const client = new HttpClient(request, response, clock);
    response.once('close', () => {
      if (!response.writableFinished) client.end(clientGone());
    });
    return client;
  }

  static ofUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, clock: Clock): HttpClient {
    // From here on each half may end by itself. Node may have put a stream around the socket.
    for (const end of [request.socket, socket]) end.allowHalfOpen = true;
    // A connection that breaks is seen by its close.
    socket.on('error', () => socket.destroy());
    // Now, since the client may have ended its half already: behind that end nothing can be put back.
    if (head.byteLength > 0) socket.unshift(head);
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    const client = new HttpClient(request, response, clock);
    client.#bare = socket;
    response.once('finish', () => client.#endSocket(socket));
    socket.once('close', () => client.end(clientGone()));
    return client;
  }

  /** The protocol of the upgrade that it asks for, if it does. */
  get protocol(): string | undefined {
    return this.#bare === undefined ? undefined : this.request.headers.upgrade;
  }

  /** The path, as it came, without the query. */
  get path(): string {
    return (this.request.url ?? '').split('?', 1)[0] ?? '';
  }

  /** Whoever works for it is to stop. Idempotent. */
  end(reason: FairleadError): void {
    this.#ending.abort(reason);
  }

  /** How its body goes to Docker. HTTP's reader has refused a request that says both, or a length more than once. */
  get body(): RawRequest['body'] {
    const { 'transfer-encoding': encoding, 'content-length': length = '0' } = this.request.headers;
    return encoding === undefined ? Number(length) || 'none' : 'chunked';
  }

  /** The body as a whole. @throws FairleadError PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, and the reason of `aborted` */
  async wholeBody(maxBytes: number): Promise<Buffer> {
    const late = new AbortController();
    const why = new FairleadError('REQUEST_TIMEOUT', `the body did not come within ${WHOLE_BODY_MS / 1000} s`);
    const timer = this.#clock.setTimeout(() => late.abort(why), WHOLE_BODY_MS);
    const ending = AbortSignal.any([this.aborted, late.signal]);
    const gathered = new Gathered(maxBytes);
    try {
      for await (const chunk of addAbortSignal(ending, Readable.from(this.request)) as AsyncIterable<Buffer>) {
        if (gathered.add(chunk)) continue;
        throw new FairleadError('PAYLOAD_TOO_LARGE', `the body may have ${maxBytes} bytes at most`);
      }
    } catch (error) {
      ending.throwIfAborted();
      throw isFairleadError(error) ? error : clientGone();
    } finally {
      timer.cancel();
    }
    return gathered.bytes();
  }

  /** As the passing on of an exchange knows it. @throws FairleadError VALIDATION for a path with more than one reading */
  exchange(): ExchangeClient {
    const { request, response, aborted, protocol } = this;
    const { method = '', url = '', rawHeaders } = request;
    requireNormal(url);
    const headers = endToEnd(rawHeaders).filter(
      ([name]) => !isForNeighbour(name) && name.toLowerCase() !== TOKEN_HEADER,
    );
    const ends = () => this.#joined;
    return {
      kind: protocol === undefined ? dockerRequest : dockerUpgrade,
      request: { method, target: url, headers },
      get source() {
        return ends() ?? request;
      },
      get sink() {
        return ends() ?? response;
      },
      aborted,
      sendReply: (head) => (head.upgraded ? this.#join(head) : this.#begin(head)),
      finish: (trailers) => this.#finish(trailers),
    };
  }

  /** Answers with a text. */
  answer(status: number, type: string, text: string, headers: Readonly<Record<string, string>> = {}): void {
    const { request, response } = this;
    // What is left of a body is not read: the connection goes with it.
    const close = request.complete ? {} : { connection: 'close' };
    response.writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(text),
      ...headers,
      ...close,
    });
    response.end(request.method === 'HEAD' ? undefined : text);
    this.#dropRest();
  }

  answerJson(status: number, value: object): void {
    this.answer(status, 'application/json', JSON.stringify(value));
  }

  /** Answers with an error in Docker's own form, or breaks off what has begun: nobody is to take it for the whole. */
  fail(error: unknown): void {
    const { response } = this;
    if (this.#joined !== undefined) return void this.#joined.destroy();
    if (response.headersSent || response.destroyed) return void response.destroy();
    const { message } = toWireError(error);
    this.answerJson(isFairleadError(error) ? ERRORS[error.code].status : 500, { message });
  }

  #begin({ status, reason, headers }: AnswerHead): void {
    this.response.writeHead(status, reason, headers.flat());
    this.response.flushHeaders();
  }

  /** Takes the connection out of HTTP's hands. */
  #join({ status, reason, headers }: AnswerHead): void {
    const { protocol } = this;
    const socket = this.#bare;
    if (socket === undefined) throw new Error('an upgrade is asked for before it is made');
    this.#bare = undefined;
    this.#joined = socket;
    this.response.detachSocket(socket as Socket);
    // With 200 an Engine that knows no 101 has handed the connection over; its clients know that, too.
    const upgrade = status === 101 ? `Connection: Upgrade\r\nUpgrade: ${protocol}\r\n` : '';
    const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    socket.write(`HTTP/1.1 ${status} ${reason}\r\n${upgrade}${lines}\r\n`, 'latin1');
  }

  #finish(trailers: readonly HeaderPair[]): void {
    const { response } = this;
    if (this.#joined !== undefined) return void this.#endSocket(this.#joined);
    if (trailers.length > 0 && response.chunkedEncoding) response.addTrailers(trailers.map(([...pair]) => pair));
    response.end();
    this.#dropRest();
  }

  /** Sends the end; who does not close the other half soon after it has taken it is cut off. */
  #endSocket(socket: Duplex): void {
    socket.end(() => {
      const timer = this.#clock.setTimeout(() => socket.destroy(), END_MS);
      socket.once('close', () => timer.cancel());
    });
    // Only one who reads sees the other end close.
    socket.resume();
  }

  /** An answer may come before the whole request: what is left of that is not waited for. */
  #dropRest(): void {
    const { request } = this;
    if (request.complete) return;
    request.resume();
    const timer = this.#clock.setTimeout(() => request.destroy(), END_MS);
    request.once('close', () => timer.cancel());
  }
}

function clientGone(): FairleadError {
  return new FairleadError('CANCELLED', 'the client went away');
}
