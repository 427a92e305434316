/** The API on a port, before a host that answers for its Docker as a test says, and clients of it. */
import { once } from 'node:events';
import { type ClientRequest, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { type Cleanup, defer } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import type { Asked, FakeStream } from './fake-host.ts';
import { as, type Fixture, type FixtureOptions, fixture, listen } from './fakes.ts';

export const DOCKER = '/api/v1/hosts/edge-1/docker';
/** Docker's answer, unless a test says another. */
export const OK = { status: 200, reason: 'OK', headers: [], upgraded: false };
export const SWITCHING = { status: 101, reason: 'UPGRADED', headers: [], upgraded: true };

export interface DockerFixture extends Fixture {
  readonly port: number;
  /** What the host was asked for last, once it was. */
  asked(): Promise<Asked>;
  /** Ends the host's answer. */
  finish(stream: FakeStream, body?: string): void;
  /** Rows of the audit log, but for logins. */
  rows(): Fixture['audit'];
  /** A request whose body, if any, is still to come. */
  begin(method: string, path: string, headers?: object): ClientRequest;
  /** A whole exchange. `token` is a role, `undefined` none. */
  send(method: string, path: string, options?: SendOptions): Promise<Answer>;
  /** A connection of bare bytes. */
  raw(...lines: string[]): Raw;
}

export interface SendOptions {
  readonly token?: Parameters<typeof as>[0] | null;
  readonly body?: string | Buffer;
  readonly headers?: Record<string, string>;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every kind
  readonly body: any;
}

/** A client that sends what a test says, and keeps what comes. */
export interface Raw {
  readonly socket: Socket;
  received(): string;
  /** Resolves once `part` has come. */
  until(part: string): Promise<void>;
  /** Resolves with all that has come once the other end has closed its half, or all. */
  ended(): Promise<string>;
}

export async function dockerFixture(
  cleanup: Cleanup,
  answers: FixtureOptions['answers'] = {},
  options: Omit<FixtureOptions, 'answers'> = {},
): Promise<DockerFixture> {
  // A host that ends its answer at once: tests that want another say so.
  const whole = ({ stream }: Asked) => {
    finish(stream);
    return OK;
  };
  const all = { 'docker.request': whole, 'docker.upgrade': () => SWITCHING, ...answers };
  const made = await fixture({ answers: all, ...options });
  const port = Number(new URL(await listen(made)).port);
  defer(cleanup, () => made.api.close());
  const begin = (method: string, path: string, headers: object = as('operator')) => {
    const whither: RequestOptions = { port, host: '127.0.0.1', method, path, agent: false };
    const request = httpRequest({ ...whither, headers: headers as Record<string, string> });
    const response = once(request, 'response');
    response.catch(() => undefined);
    responses.set(request, response);
    defer(cleanup, () => request.destroy());
    return request;
  };
  const send = async (method: string, path: string, { token = 'operator', body, headers }: SendOptions = {}) => {
    const request = begin(method, path, { ...(token === null ? {} : as(token)), ...headers });
    request.end(body);
    return await answerTo(request);
  };
  return {
    ...{ ...made, port, finish, begin, send },
    asked: () => waitFor('the host to be asked', () => made.host.asked.at(-1)),
    rows: () => made.audit.filter(({ action }) => action !== 'login'),
    raw: (...lines) => raw(cleanup, port, lines),
  };
}

function finish(stream: FakeStream, body = ''): void {
  stream.output.end(body);
  stream.trailer.resolve({ headers: [] });
}

/** They may come before anybody asks for them. */
const responses = new WeakMap<ClientRequest, Promise<unknown[]>>();

/** The head of the answer to a request that a fixture has begun. */
export async function responseTo(request: ClientRequest): Promise<IncomingMessage> {
  const [response] = (await within(5_000, 'an answer', responses.get(request) ?? Promise.reject(request))) as [unknown];
  return response as IncomingMessage;
}

export async function answerTo(request: ClientRequest): Promise<Answer> {
  const response = await responseTo(request);
  const body = await within(5_000, 'the end of the answer', text(response));
  const isJson = (response.headers['content-type'] ?? '').includes('json');
  const { statusCode: status = 0, headers } = response;
  return { status, headers, text: body, body: isJson && body !== '' ? JSON.parse(body) : undefined };
}

function raw(cleanup: Cleanup, port: number, lines: readonly string[]): Raw {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  defer(cleanup, () => socket.destroy());
  let received = '';
  socket
    .on('error', () => undefined)
    .on('data', (chunk) => {
      received += String(chunk);
    });
  socket.write(lines.join('\r\n'));
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  for (const event of ['end', 'close']) socket.once(event, () => resolve(received));
  const until = async (part: string) => {
    await waitFor(JSON.stringify(part), () => received.includes(part), { context: () => received });
  };
  return { socket, received: () => received, until, ended: () => within(5_000, 'the end', ended, () => received) };
}
