/** `events` and `webhook`: what is printed, and how a follower comes back to where it was. */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { type ServerSentEvent, serverSentEvents } from '../../../../server/cli/sse.ts';
import { fakeApi, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

const EVENTS = 'GET /api/v1/events';
let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

const event = (id: number, type = 'container.die') => ({
  ...{
    id,
    type,
    time: '2030-01-01T00:00:00.000001Z',
    host: 'shed',
    hostId: 'h1',
    action: null,
    subject: 'a'.repeat(64),
  },
  attributes: { name: 'web', exitCode: '137', 'some.label': 'long' },
});
const LINE = '2030-01-01T00:00:00.000001Z  shed  container.die  web  (aaaaaaaaaaaa)  exitCode=137\n';
const sse = (id: number) => `id: ${id}\nevent: container.die\ndata: ${JSON.stringify(event(id))}\n\n`;

test('a follower that is cut off comes back behind the last event that it printed, until that makes no sense', async (t) => {
  const server = await fakeApi(t, identity);
  const asked: string[] = [];
  server.on(EVENTS, ({ url }, response) => {
    asked.push(url.search);
    if (asked.length === 3) return problem(response, 401, 'UNAUTHORIZED', 'the token has ended');
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (asked.length === 2) return response.end(`: nothing new\nid: 9\n\n`);
    response.write(`retry: 2000\nid: 4\n\n${sse(5)}${sse(6).slice(0, 20)}`);
    setTimeout(() => response.destroy(), 20);
  });
  const { code, io } = await runAgainst(server, ['events', '--type', 'container', '--host', 'shed']);
  assert.equal(code, 1);
  assert.equal(io.out(), LINE);
  assert.deepEqual(asked, [
    '?host=shed&type=container',
    '?host=shed&type=container&after=5',
    '?host=shed&type=container&after=9',
  ]);
  assert.match(io.err(), /broke off.*coming back\n.*connected again\n.*the token has ended \(UNAUTHORIZED\)\n$/s);
});

test('a server that refuses the first time is not asked again', async (t) => {
  const server = await fakeApi(t, identity);
  server.on(EVENTS, (_seen, response) => problem(response, 503, 'OVERLOADED', 'too many streams'));
  const { code, io } = await runAgainst(server, ['events']);
  assert.deepEqual([code, io.err()], [1, 'fairlead: too many streams (OVERLOADED)\n']);
});

test('what has been is printed oldest first, as lines or as JSON', async (t) => {
  const server = await fakeApi(t, identity);
  server.on(EVENTS, () => ({ items: [event(6), event(5)], nextCursor: null }));
  const lines = await runAgainst(server, ['events', '--no-follow']);
  assert.equal(lines.io.out(), LINE + LINE);
  assert.equal(server.requests.at(-1)?.url.search, '?limit=50');
  const json = await runAgainst(server, [
    'events',
    '--no-follow',
    '--json',
    '--since',
    '2030-01-01',
    '--tag',
    'a',
    '--tag',
    'b',
  ]);
  assert.deepEqual(
    JSON.parse(json.io.out()).map(({ id }: { id: number }) => id),
    [5, 6],
  );
  assert.equal(server.requests.at(-1)?.url.search, '?tag=a&tag=b&since=2030-01-01T00%3A00%3A00.000Z&limit=500');
});

test('what hosts say cannot drive the terminal', async (t) => {
  const server = await fakeApi(t, identity);
  const evil = { ...event(1), action: 'x\u001b[2J', attributes: { name: '\u001b]0;hi\u0007', reason: 'a\nb' } };
  server.on(EVENTS, () => ({ items: [evil], nextCursor: null }));
  const { io } = await runAgainst(server, ['events', '--no-follow']);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  assert.doesNotMatch(io.out().slice(0, -1), /[\u0000-\u001f]/);
});

test('a webhook is made with its filters, and its secret is shown', async (t) => {
  const server = await fakeApi(t, identity);
  server.on('POST /api/v1/webhooks', () => ({ id: 'w1', secret: 'hush' }));
  const args = ['webhook', 'create', 'https://x/', '--type', 'container', '--host', 'shed', '--tag', 'prod'];
  const { code, io } = await runAgainst(server, args);
  assert.deepEqual([code, io.out()], [0, 'id:      w1\nsecret:  hush\n']);
  assert.deepEqual(server.requests.at(-1)?.body, {
    url: 'https://x/',
    types: ['container'],
    hosts: ['shed'],
    tags: ['prod'],
  });
});

async function parse(chunks: Uint8Array[]): Promise<ServerSentEvent[]> {
  const events: ServerSentEvent[] = [];
  for await (const one of serverSentEvents(Readable.from(chunks))) events.push(one);
  return events;
}

test('events are the same however their bytes are cut', async () => {
  const text = `retry: 1\nid: 3\n\n: comment\nid: 4\n\nid: 5\nevent: a\ndata: {"x":"ü"}\n\ndata: 1\ndata: 2\n\nid: 6\ndata: cut o`;
  const bytes = Buffer.from(text);
  const whole = await parse([bytes]);
  assert.deepEqual(whole, [
    { id: '3', type: 'message', data: undefined },
    { id: '4', type: 'message', data: undefined },
    { id: '5', type: 'a', data: '{"x":"ü"}' },
    { id: '5', type: 'message', data: '1\n2' },
  ]);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length)), async (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      assert.deepEqual(await parse(at.slice(1).map((end, index) => bytes.subarray(at[index], end))), whole);
    }),
    { numRuns: 50 },
  );
  await assert.rejects(parse([Buffer.alloc(2 * 1024 * 1024, 'x')]), /without end/);
});
