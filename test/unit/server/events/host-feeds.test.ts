/** Taking events from agents: in order, once, at a pace; and what the server itself notices of its hosts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Audit } from '../../../../server/audit/audit.ts';
import { HostFeeds } from '../../../../server/events/host-feeds.ts';
import { HostNews } from '../../../../server/events/host-news.ts';
import type { HostLink } from '../../../../server/hosts/host-link.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import type { EventRow } from '../../../../server/store/events.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { HostEvent } from '../../../../shared/messages/host-events.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { type FakeLink, fakeLink } from '../hosts/fake-link.ts';
import { LAB, type Opened, openEvents, openLog } from './fixture.ts';

const SILENT = { warn: () => undefined, debug: () => undefined, error: () => undefined };

interface Reply {
  feed: string;
  last: number;
  events: HostEvent[];
}

/** A link whose agent answers host.events as a test says. */
interface FeedLink extends FakeLink {
  readonly asked: Record<string, unknown>[];
  answer(reply: Reply | FairleadError): void;
}

function feedLink(hostId: string = LAB, capabilities = ['host.events']): FeedLink {
  const asked: FeedLink['asked'] = [];
  const waiting: PromiseWithResolvers<Reply>[] = [];
  const link = fakeLink(hostId, 'instance', { capabilities });
  const call = ((_kind: unknown, params: Record<string, unknown>, { signal }: { signal: AbortSignal }) => {
    const answer = Promise.withResolvers<Reply>();
    signal.addEventListener('abort', () => answer.reject(signal.reason));
    asked.push({ ...params });
    waiting.push(answer);
    return answer.promise;
  }) as unknown as HostLink['call'];
  return Object.assign(link, {
    asked,
    call,
    answer: (reply: Reply | FairleadError) => {
      const next = waiting.shift() ?? assert.fail('nobody asks');
      if (reply instanceof FairleadError) next.reject(reply);
      else next.resolve(reply);
    },
  });
}

const event = (action: string, micros: number, more: Partial<HostEvent> = {}): HostEvent => ({
  ...{ type: 'container', action, id: 'c1', attributes: { name: 'web' }, timeNano: micros * 1000 },
  ...more,
});

function feeds(cleanup: Cleanup, opened: Opened, eventLog = opened.eventLog, log = SILENT) {
  const registry = new HostRegistry();
  const made = new HostFeeds({ ...opened, eventLog, registry, random: () => 0, log });
  defer(cleanup, () => made.close());
  return { registry, feeds: made };
}

async function rowsOf({ store }: Opened): Promise<EventRow[]> {
  return (await store.events.read(0, 500)).rows;
}
const typesOf = async (opened: Opened) => (await rowsOf(opened)).map(({ type }) => type);
const asking = (link: FeedLink, times: number) => waitFor(`question ${times}`, () => link.asked.length >= times);
/** The clock stands: what waits for others to be written together is written now. */
const written = ({ eventLog }: Opened, last: number) =>
  waitFor(`event ${last}`, async () => {
    await eventLog.drain();
    return eventLog.last >= last;
  });

test('what a host sends is written, and then only it is told that it has arrived', async (t) => {
  const opened = await openEvents(t);
  const { registry } = feeds(t, opened);
  const link = feedLink();
  registry.attach(link);
  await asking(link, 1);
  assert.deepEqual(link.asked[0], {});
  const health = event('health_status: healthy', 2_000_005);
  link.answer({ feed: 'f', last: 7, events: [event('start', 1_000_000), health] });
  await written(opened, 2);
  await asking(link, 2);
  assert.deepEqual(link.asked[1], { feed: 'f', after: 7, sinceMicros: 2_000_005 });
  const [, row] = await rowsOf(opened);
  const { at: _, ...rest } = row ?? assert.fail();
  assert.deepEqual(rest, {
    ...{ id: 2, timeMicros: 2_000_005, hostId: LAB, host: 'lab', subject: 'c1', attributes: '{"name":"web"}' },
    ...{ type: 'container.health_status', action: 'health_status: healthy' },
  });
});

test('an agent that stops is no warning, and whatever else fails is one', async (t) => {
  const opened = await openEvents(t);
  const warned: unknown[] = [];
  const log = { ...SILENT, warn: (facts: { err?: { code?: string } }) => void warned.push(facts.err?.code) };
  const { registry } = feeds(t, opened, opened.eventLog, log as unknown as typeof SILENT);
  const link = feedLink();
  registry.attach(link);
  for (const [times, code] of (['STREAM_INTERRUPTED', 'INTERNAL'] as const).entries()) {
    await asking(link, times + 1);
    link.answer(new FairleadError(code, 'no more'));
    await waitFor('the next question', () => {
      opened.clock.advance(1_000);
      return link.asked.length === times + 2;
    });
  }
  assert.deepEqual(warned, ['INTERNAL']);
});

test('an agent of another process repeats some: a server that was restarted, too, knows them', async (t) => {
  const opened = await openEvents(t);
  const first = feeds(t, opened);
  const link = feedLink();
  first.registry.attach(link);
  await asking(link, 1);
  const sent = [event('create', 1e9), event('start', 1e9 + 1), event('exec_start: mysql --password=hunter2', 1e9 + 2)];
  link.answer({ feed: 'f', last: 3, events: sent });
  await written(opened, 3);
  await asking(link, 2);
  await first.feeds.close();
  const eventLog = await openLog(opened.store, opened.clock);
  const second = feeds(t, opened, eventLog);
  const again = feedLink();
  second.registry.attach(again);
  await asking(again, 1);
  assert.deepEqual(again.asked[0], { feed: 'f', after: 3, sinceMicros: 1e9 + 2 });
  again.answer({ feed: 'g', last: 4, events: [...sent, event('die', 1e9 + 3)] });
  await written({ ...opened, eventLog }, 4);
  await asking(again, 2);
  assert.deepEqual((await typesOf(opened)).slice(2), ['container.exec_start', 'container.die']);
  assert.doesNotMatch(JSON.stringify(await rowsOf(opened)), /hunter2/);
});

test('a newer session goes on when the older one has ended', async (t) => {
  const opened = await openEvents(t);
  const { registry } = feeds(t, opened);
  const [older, newer] = [feedLink(), feedLink()];
  registry.attach(older);
  await asking(older, 1);
  older.answer({ feed: 'f', last: 1, events: [event('start', 1e9)] });
  await written(opened, 1);
  await asking(older, 2);
  registry.attach(newer);
  await asking(newer, 1);
  assert.deepEqual(newer.asked[0], { feed: 'f', after: 1, sinceMicros: 1e9 });
});

test('a host that cannot, or does not let it, is not asked again; one that fails is, after a while', async (t) => {
  const opened = await openEvents(t);
  const { registry } = feeds(t, opened);
  const old = feedLink(LAB, ['container.list']);
  registry.attach(old);
  const denying = feedLink('h-denies');
  registry.attach(denying);
  const failing = feedLink('h-fails');
  registry.attach(failing);
  await asking(denying, 1);
  denying.answer(new FairleadError('DENIED_BY_HOST', 'no'));
  await asking(failing, 1);
  failing.answer(new FairleadError('OVERLOADED', 'later'));
  await waitFor('the question after a while', () => {
    opened.clock.advance(1_000);
    return failing.asked.length === 2;
  });
  failing.answer({ feed: 'f', last: 0, events: [] });
  await new Promise(setImmediate);
  assert.equal(failing.asked.length, 2, 'an answer without an event is not asked for again at once');
  assert.deepEqual([old.asked.length, denying.asked.length], [0, 1]);
});

test('a host cannot speak in the name of the server', async (t) => {
  const opened = await openEvents(t);
  const warn = t.mock.fn();
  const { registry } = feeds(t, opened, opened.eventLog, { ...SILENT, warn });
  const link = feedLink();
  registry.attach(link);
  await asking(link, 1);
  const types = ['host', 'certificate', 'session', 'upgrade', 'docker', 'events'];
  const forged = types.map((type, index) => event('revoked', 1e9 + index, { type }));
  const own = [event('gap', 2e9, { type: 'events' }), event('reachable', 2e9, { type: 'docker' })];
  link.answer({ feed: 'f', last: 8, events: [...forged, ...own, event('start', 3e9)] });
  await written(opened, 3);
  assert.deepEqual(await typesOf(opened), ['events.gap', 'docker.reachable', 'container.start']);
  assert.equal(warn.mock.callCount(), 0, 'not each by itself');
  opened.clock.advance(60_000);
  assert.deepEqual(
    warn.mock.calls.map(({ arguments: [fields] }) => fields),
    [{ events: 6, lastOf: LAB }],
  );
});

test('a host that floods is held back, and no other', async (t) => {
  const opened = await openEvents(t);
  const { registry } = feeds(t, opened);
  const link = feedLink();
  registry.attach(link);
  let sent = 0;
  for (let round = 1; round <= 20; round++) {
    await asking(link, round);
    const events = Array.from({ length: 256 }, () => event('exec_die', 1e9 + sent++));
    link.answer({ feed: 'f', last: sent, events });
    await written(opened, sent);
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(link.asked.length, 20, '5,120 at once are more than 5,000');
  const before = opened.clock.monotonic();
  await waitFor('its next turn', () => {
    opened.clock.advance(100);
    return link.asked.length === 21;
  });
  assert.ok(opened.clock.monotonic() - before >= 6_000, '120 too many, at 20 a second');
});

test('a host that comes anew has no more than it had, and large events count as several', async (t) => {
  const opened = await openEvents(t);
  const { registry } = feeds(t, opened);
  const attributes = Object.fromEntries(Array.from({ length: 32 }, (_, index) => [`a${index}`, 'x'.repeat(256)]));
  let sent = 0;
  for (let session = 1; session <= 2; session++) {
    const link = feedLink();
    registry.attach(link);
    await asking(link, 1);
    const events = Array.from({ length: 256 }, () => event('start', 1e9 + sent++, { attributes }));
    link.answer({ feed: 'f', last: sent, events });
    await written(opened, sent);
  }
  const last = feedLink();
  registry.attach(last);
  const before = opened.clock.monotonic();
  await waitFor('its turn', () => {
    opened.clock.advance(1_000);
    return last.asked.length === 1;
  });
  assert.ok(opened.clock.monotonic() - before >= 150_000, '512 of 8 KiB count as more than 8,000');
});

test('what has no room in a full store waits, and is written once there is some', async (t) => {
  const opened = await openEvents(t);
  const { append } = opened.store.events;
  let isFull = true;
  opened.store.events.append = async (rows) => {
    if (isFull && rows.some(({ type }) => type === 'container.die')) throw new FairleadError('STORE_FULL', 'full');
    await append(rows);
  };
  const { registry } = feeds(t, opened);
  const link = feedLink();
  registry.attach(link);
  await asking(link, 1);
  link.answer({ feed: 'f', last: 2, events: [event('start', 1e9), event('die', 1e9 + 1)] });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(link.asked.length, 1);
  isFull = false;
  await waitFor('the events', async () => {
    opened.clock.advance(1_000);
    await opened.eventLog.drain();
    return link.asked.length === 2;
  });
  assert.deepEqual(await typesOf(opened), ['container.start', 'container.die']);
});

test('a stop ends each question, so that no session waits for it', async (t) => {
  const opened = await openEvents(t);
  const { registry, feeds: asker } = feeds(t, opened);
  const link = feedLink();
  registry.attach(link);
  await asking(link, 1);
  asker.stop();
  registry.attach(feedLink());
  await asker.close();
  assert.equal(link.asked.length, 1);
});

test('hosts come and go, and what is done to them is told, without who did it', async (t) => {
  const opened = await openEvents(t);
  const { store, clock, eventLog, directory } = opened;
  const audit = new Audit({ store, clock, log: SILENT });
  await audit.record({ actor: 'ann', action: 'host.revoke', target: LAB, result: 'ok', detail: { name: 'of before' } });
  const registry = new HostRegistry();
  const deps = { store, audit, registry, eventLog, directory, clock, log: SILENT };
  const news = await HostNews.open(deps);
  const link = feedLink();
  registry.attach(link);
  link.drop('TIMEOUT');
  await written(opened, 2);
  const detail = { name: 'lab', reason: 'sold', serials: ['A1', 'A2'], secret: 'x' };
  await audit.record({ actor: 'ann', address: '::1', action: 'host.revoke', target: LAB, result: 'ok', detail });
  await audit.record({ actor: 'ann', action: 'host.revoke', target: LAB, result: 'failed', detail });
  const refused = { name: 'lab', code: 'CERT_EXPIRED' };
  await audit.record({ actor: 'x', action: 'host.connect', target: LAB, result: 'refused', detail: refused });
  await audit.record({ actor: 'ann', action: 'container.start', target: 'lab/web', result: 'ok' });
  // Each trial of the new agent that fails is of the same action.
  const trial = { actor: `host:${LAB}`, action: 'host.adopt', target: LAB };
  await audit.record({ ...trial, result: 'failed', detail: { code: 'UNAVAILABLE', message: 'Docker is away' } });
  await audit.record({ ...trial, result: 'ok', detail: { name: 'lab', from: 'hawser', tokenIds: ['w1'] } });
  const reading = news.read();
  await written(opened, 5);
  await reading;
  await news.close();
  const rows = await rowsOf(opened);
  assert.deepEqual(
    rows.map(({ type, host, hostId, attributes }) => [type, host, hostId, JSON.parse(attributes)]),
    [
      ['host.online', 'lab', LAB, { agentVersion: '9.9.9', docker: '1.2.3' }],
      ['host.offline', 'lab', LAB, { code: 'TIMEOUT', reason: 'dropped' }],
      ['host.revoked', 'lab', LAB, { name: 'lab', reason: 'sold', serials: 'A1, A2' }],
      ['host.refused', 'lab', LAB, { name: 'lab', code: 'CERT_EXPIRED' }],
      ['host.adopted', 'lab', LAB, { name: 'lab' }],
    ],
  );
  await audit.record({ actor: 'ann', action: 'host.release', target: LAB, result: 'ok', detail: { name: 'lab' } });
  const next = await HostNews.open(deps);
  const again = next.read();
  await written(opened, 6);
  await again;
  await next.close();
  assert.deepEqual((await typesOf(opened)).slice(5), ['host.released'], 'what happened meanwhile is told, and no more');
});
