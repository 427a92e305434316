/** The feed of a host's events over an engine that restarts, forgets and repeats, as a server that comes and goes takes it. */
import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import { feedOf } from '../../../../agent/docker/event-feed.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { type HostEvent, hostEvents } from '../../../../shared/messages/host-events.ts';
import type { Cleanup } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { serve } from '../handlers/served.ts';
import { engineAt, fakeDocker, PERMISSIVE, SILENT } from './fake-docker.ts';

/** An engine that remembers events as Docker does. */
async function eventEngine(cleanup: Cleanup) {
  const memory: { line: string; micros: number }[] = [];
  const followers = new Set<ServerResponse>();
  const asked: URL[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '', 'http://docker');
    asked.push(url);
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    const since = Math.round(Number(url.searchParams.get('since')) * 1e6);
    for (const { line, micros } of memory) if (micros >= since) response.write(line);
    followers.add(response);
    response.on('close', () => followers.delete(response));
  };
  const docker = await fakeDocker(cleanup, answer);
  const engine = await engineAt(cleanup, docker.socket);
  const emit = (action: string, micros = Date.now() * 1000, id = 'c1') => {
    const line = `${JSON.stringify({ Type: 'container', Action: action, Actor: { ID: id, Attributes: {} }, timeNano: micros * 1000 })}\n`;
    memory.push({ line, micros });
    for (const follower of followers) follower.write(line);
    return micros;
  };
  const cut = () => {
    for (const follower of followers) follower.destroy();
  };
  return { docker, engine, memory, followers, asked, emit, cut };
}

const words = (events: readonly HostEvent[]) => events.map(({ type, action }) => `${type}.${action}`);
const forever = () => new AbortController().signal;

interface Place {
  feed?: string;
  after?: number;
  sinceMicros?: number;
}
interface Taken {
  events: HostEvent[];
  place: Place;
}

/** Takes until so many have come, as a server does. */
async function take(feed: ReturnType<typeof feedOf>, count: number, from: Place = {}): Promise<Taken> {
  const events: HostEvent[] = [];
  let place = from;
  while (events.length < count) {
    const reply = await within(5_000, `${count} events, of which came ${words(events)}`, feed.take(place, forever()));
    events.push(...reply.events);
    place = { feed: reply.feed, after: reply.last };
  }
  return { events, place };
}

test('events come at once, in order, and each until it is said to have arrived', async (t) => {
  const { engine, emit, followers, asked } = await eventEngine(t);
  const feed = feedOf(engine, SILENT);
  const first = feed.take({}, forever());
  await waitFor('the question', () => followers.size === 1);
  assert.ok(Math.abs(Number(asked[0]?.searchParams.get('since')) - Date.now() / 1000) < 10);
  emit('create');
  const one = await first;
  assert.deepEqual(words(one.events), ['container.create']);
  emit('start');
  const { events } = await take(feed, 1, { feed: one.feed, after: one.last });
  assert.deepEqual(words(events), ['container.start']);
  const again = await take(feed, 1, { feed: one.feed, after: one.last });
  assert.deepEqual(words(again.events), ['container.start'], 'nobody said that it has arrived');
  assert.equal(followers.size, 1, 'one connection for all');
});

test('what Docker repeats after its connection broke is told once, and what came meanwhile is not lost', async (t) => {
  const { engine, emit, followers, cut } = await eventEngine(t);
  const feed = feedOf(engine, SILENT);
  const first = take(feed, 2);
  await waitFor('the question', () => followers.size === 1);
  const micros = emit('create');
  emit('start', micros);
  const { place }: Taken = await first;
  cut();
  // Of the very moment of the last one that is known, as well.
  emit('pause', micros);
  emit('die');
  const { events } = await take(feed, 2, place);
  assert.deepEqual(words(events), ['container.pause', 'container.die']);
});

test('where Docker does not remember the last event that is known, something may be missing, and it is said', async (t) => {
  const { engine, emit, followers, memory, cut } = await eventEngine(t);
  const feed = feedOf(engine, SILENT);
  const first = take(feed, 1);
  await waitFor('the question', () => followers.size === 1);
  emit('create');
  const { place }: Taken = await first;
  cut();
  memory.length = 0;
  emit('start', Date.now() * 1000 + 10);
  const { events } = await take(feed, 2, place);
  assert.deepEqual(words(events), ['events.gap', 'container.start']);
  assert.deepEqual(events[0]?.attributes, { reason: 'memory' });
});

test('another process of the agent goes on where the server stands', async (t) => {
  const { engine, emit } = await eventEngine(t);
  const known = emit('create', Date.now() * 1000 - 5_000);
  emit('start', known + 1);
  emit('die', known + 2);
  const { events } = await take(feedOf(engine, SILENT), 3, { feed: 'of-before', after: 900, sinceMicros: known });
  assert.deepEqual(
    words(events),
    ['container.create', 'container.start', 'container.die'],
    'the server knows the first',
  );
});

test('a Docker that goes away and comes back is told of, and waited for', async (t) => {
  const { docker, engine, emit, followers } = await eventEngine(t);
  const feed = feedOf(engine, SILENT);
  const first = take(feed, 1);
  await waitFor('the question', () => followers.size === 1);
  emit('create');
  const { place }: Taken = await first;
  await docker.kill();
  const gone = await take(feed, 1, place);
  assert.deepEqual(words(gone.events), ['docker.unreachable']);
  assert.match(gone.events[0]?.attributes['reason'] ?? '', /Docker is not reachable/);
  emit('die');
  await docker.listen();
  const { events } = await take(feed, 2, gone.place);
  assert.deepEqual(words(events), ['docker.reachable', 'container.die']);
});

test('what cannot be read is passed by, and said to be missing', async (t) => {
  const { engine, emit, followers, asked } = await eventEngine(t);
  const feed = feedOf(engine, SILENT);
  const first = take(feed, 1);
  await waitFor('the question', () => followers.size === 1);
  for (const follower of followers) follower.write('{"Type": no json\n');
  const { events, place }: Taken = await first;
  assert.deepEqual([words(events), events[0]?.attributes], [['events.gap'], { reason: 'unreadable' }]);
  await waitFor('another question', () => asked.length === 2 && followers.size === 1);
  emit('die');
  assert.deepEqual(words((await take(feed, 1, place)).events), ['container.die']);
});

test('a stop answers whoever waits, and a server that leaves ends its own question alone', async (t) => {
  const { engine, followers } = await eventEngine(t);
  const feed = feedOf(engine, SILENT);
  const leaving = new AbortController();
  const left = assert.rejects(feed.take({}, leaving.signal), { code: 'CANCELLED' });
  const waiting = feed.take({}, forever());
  leaving.abort(new FairleadError('CANCELLED', 'it left'));
  await left;
  feed.end();
  assert.deepEqual((await waiting).events, []);
  assert.deepEqual((await feed.take({}, forever())).events, []);
  await waitFor('the end of the connection', () => followers.size === 0);
});

test('a host that denies the call denies its events, and Docker is sent nothing', async (t) => {
  const { docker, asked } = await eventEngine(t);
  const policy = { ...PERMISSIVE, deny: ['docker:GET /events'] };
  const engine = await engineAt(t, docker.socket, undefined, policy);
  const served = await serve(t, { docker: engine, info: { agentVersion: '1' }, log: SILENT });
  await assert.rejects(served.call(hostEvents, {}), { code: 'DENIED_BY_HOST' });
  assert.deepEqual(asked, []);
});

test('over a session it is one question and one answer', async (t) => {
  const { engine, emit, followers } = await eventEngine(t);
  const served = await serve(t, { docker: engine, info: { agentVersion: '1' }, log: SILENT });
  const reply = served.call(hostEvents, {});
  await waitFor('the question', () => followers.size === 1);
  emit('oom');
  assert.deepEqual(words((await reply).events), ['container.oom']);
});
