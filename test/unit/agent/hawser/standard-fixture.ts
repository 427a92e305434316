/** An agent in Standard mode before a Docker that answers as each test says, and its clients. */
import { once } from 'node:events';
import {
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
} from 'node:http';
import { createConnection, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { HawserStandard } from '../../../../agent/hawser/standard.ts';
import { defer } from '../../../support/tmp.ts';
import { type ContextOptions, type Fixture, fixture, TOKEN } from './fixture.ts';

export interface Opened extends Fixture {
  readonly standard: HawserStandard;
  readonly port: number;
}

export async function opened(t: TestContext, made: Fixture): Promise<Opened> {
  const standard = await HawserStandard.open({ host: '127.0.0.1', port: 0, token: TOKEN }, made.context);
  defer(t, () => standard.close());
  return { ...made, standard, port: standard.port };
}

export const over = async (t: TestContext, answer: RequestListener, options: ContextOptions = {}) =>
  await opened(t, await fixture(t, answer, options));

export interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every kind
  readonly json: any;
}

export async function ask(
  port: number,
  method: string,
  path: string,
  { headers = { 'X-Hawser-Token': TOKEN }, body }: { headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  const outgoing = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false });
  outgoing.end(body);
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const answer = await text(response);
  const isJson = response.headers['content-type']?.includes('json') === true && answer !== '';
  return {
    ...{ status: response.statusCode, headers: response.headers, body: answer },
    json: isJson ? JSON.parse(answer) : undefined,
  };
}

/** A connection of bare bytes to the listener. */
export function bare(t: TestContext, port: number): Socket & { received: string } {
  const socket = Object.assign(createConnection({ host: '127.0.0.1', port, allowHalfOpen: true }), { received: '' });
  socket.on('data', (chunk: Buffer) => {
    socket.received += chunk.toString('latin1');
  });
  socket.on('error', () => undefined);
  defer(t, async () => void socket.destroy());
  return socket;
}

export const head = (method: string, path: string, ...headers: string[]) =>
  [`${method} ${path} HTTP/1.1`, 'Host: x', `X-Hawser-Token: ${TOKEN}`, ...headers, '', ''].join('\r\n');
