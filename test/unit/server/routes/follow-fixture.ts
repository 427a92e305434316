/** A client that follows something of a container, and the host that it is of. */
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import type { TestContext } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { type Answer, type FakeStream, frame } from './fake-host.ts';
import { as, type Fixture, fixture, listen } from './fakes.ts';

/** A container of the host. */
export const BASE = '/api/v1/hosts/edge-1/containers/web';
export const ID = 'ab'.repeat(32);
/** What interrupts a stream. */
export const lost = () => new FairleadError('STREAM_INTERRUPTED', 'the session ended');
/** An entry as Docker sends it, `n` ms into the minute. */
export const entry = (n: number, text: string, stream: 1 | 2 = 1) =>
  frame(stream, `2026-01-02T03:04:05.${String(n).padStart(3, '0')}000000Z ${text}`);

export interface Following extends Fixture {
  url: string;
  clock: FakeClock;
  /** The host's side of the nth stream that was asked for, once it was. */
  stream(n: number): Promise<FakeStream>;
}

/** An API whose host answers as `answers` say. */
export async function following(
  t: TestContext,
  answers: Record<string, Answer> = {},
  overrides = {},
): Promise<Following> {
  const clock = new FakeClock();
  const startedAt = '2026-01-02T03:00:00.5Z';
  const opened = { tty: false, id: ID, startedAt, openedAt: '2026-01-02T03:04:00.000Z' };
  const made = await fixture({
    answers: { 'container.log.stream': () => opened, 'container.stats': () => ({}), ...answers },
    overrides: { clock, ...overrides },
  });
  const url = await listen(made);
  t.after(() => made.api.close());
  const stream = async (n: number) =>
    await waitFor(`stream ${n}`, () => {
      clock.advance(100);
      return made.host.asked[n]?.stream;
    });
  return { ...made, url, clock, stream };
}

export async function get(url: string, accept = 'text/plain'): Promise<IncomingMessage> {
  const request = http.get(url, { headers: { ...as('viewer'), accept }, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return response;
}

/** Gathers what comes, and how it ends. */
export function gather(response: IncomingMessage): { text: string; end: Promise<'whole' | 'broken'> } {
  const { promise, resolve } = Promise.withResolvers<'whole' | 'broken'>();
  const gathered = { text: '', end: promise };
  response.on('data', (chunk: Buffer) => {
    gathered.text += chunk.toString();
  });
  response.on('end', () => resolve('whole')).on('error', () => resolve('broken'));
  return gathered;
}
