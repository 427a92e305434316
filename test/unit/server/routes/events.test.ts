/** Events as the API tells them: server-sent events with ids to go on from, and pages. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';
import { wantsPage } from '../../../../server/routes/events.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { HOST } from './fake-host.ts';
import { as, ask, type Fixture, fixture, listen } from './fakes.ts';

const JSON_PAGE = { accept: 'application/json' };
const EVENT = {
  ...{ id: 8, host: HOST.name, hostId: HOST.id, type: 'container.exec_create', action: 'exec_create: sh' },
  ...{ subject: 'c1', attributes: { name: 'web' } },
};

async function served(cleanup: Cleanup): Promise<Fixture & { base: string }> {
  const made = await fixture();
  defer(cleanup, () => made.api.close());
  return { ...made, base: await listen(made) };
}

/** Reads what comes of a stream that does not end. */
async function read(cleanup: Cleanup, url: string, headers: Record<string, string>) {
  const { promise, resolve } = Promise.withResolvers<import('node:http').IncomingMessage>();
  const asked = request(url, { headers, agent: false }, resolve);
  asked.on('error', () => undefined).end();
  defer(cleanup, () => asked.destroy());
  const response = await promise;
  const body = { text: '' };
  response.setEncoding('utf8').on('data', (text: string) => {
    body.text += text;
  });
  return { response, body, leave: () => asked.destroy() };
}

const argsOf = ({ calls }: Fixture, name: string) => calls.findLast((call) => call.name === name)?.args;

test('a stream names its place at once, then events, gaps and comments, each with an id', async (t) => {
  const made = await served(t);
  const { response, body } = await read(t, `${made.base}/api/v1/events`, as('viewer'));
  await waitFor('all of it', () => body.text.includes('id: 12'));
  const { 'content-type': type, 'cache-control': cache, 'x-accel-buffering': buffering } = response.headers;
  assert.deepEqual([response.statusCode, type, cache, buffering], [200, 'text/event-stream', 'no-store', 'no']);
  const [start, event, gap, comment, ...rest] = body.text.split('\n\n');
  assert.equal(start, 'retry: 2000\nid: 7');
  assert.match(event ?? '', /^id: 8\nevent: container\.exec_create\ndata: \{.*\}$/);
  const { time, ...told } = JSON.parse(event?.split('data: ')[1] ?? '');
  assert.match(time, /^\d{4}-.*\.000005Z$/);
  assert.deepEqual(told, EVENT);
  assert.match(
    gap ?? '',
    /^id: 11\nevent: events\.gap\ndata: .*"attributes":\{"reason":"retention","from":"9","to":"11"\}/,
  );
  assert.match(comment ?? '', /^: .*\nid: 12$/);
  assert.deepEqual(rest, ['']);
});

test('a stream goes on behind Last-Event-ID, or after, or from a time on', async (t) => {
  const made = await served(t);
  const start = async (query: string, headers = {}) => {
    const { leave } = await read(t, `${made.base}/api/v1/events${query}`, { ...as('viewer'), ...headers });
    leave();
    return argsOf(made, 'events.follow');
  };
  const idleMs = 15_000;
  assert.deepEqual((await start(''))?.[1], { after: 7, idleMs });
  assert.deepEqual((await start('?after=3'))?.[1], { after: 3, idleMs });
  assert.deepEqual((await start('?after=3', { 'last-event-id': '5' }))?.[1], { after: 5, idleMs });
  const [query, following] = (await start('?since=2030-01-01T00:00:00Z')) ?? [];
  assert.deepEqual(
    [(query as { sinceMicros: number }).sinceMicros, following],
    [Date.UTC(2030, 0, 1) * 1000, { after: undefined, idleMs }],
  );
});

test('filters are resolved to ids, within the scope of whoever asks', async (t) => {
  const made = await fixture();
  t.after(() => made.api.close());
  const page = async (url: string, headers: object) =>
    await ask(made.api, { url, headers: { ...headers, ...JSON_PAGE } });
  const all = '/api/v1/events?host=edge-1&tag=lab&type=container&type=host.online&until=2031-01-01&limit=5';
  const answer = await page(all, as('viewer#lab'));
  assert.equal(answer.statusCode, 200);
  assert.deepEqual(
    answer.json().items.map(({ id }: { id: number }) => id),
    [8],
  );
  assert.deepEqual(argsOf(made, 'events.list'), [
    { limit: 5 },
    {
      ...{ scope: { hosts: [], tags: ['lab'] }, hosts: [HOST.id], tags: ['lab'] },
      ...{ types: ['container', 'host.online'], untilMicros: Date.UTC(2031, 0, 1) * 1000 },
    },
  ]);
  assert.equal((await page('/api/v1/events?host=edge-1', as('viewer#other'))).json().code, 'HOST_NOT_FOUND');
  assert.equal((await page('/api/v1/hosts/edge-1/events', as('viewer#other'))).statusCode, 404);
  await page('/api/v1/hosts/edge-1/events', as('viewer'));
  assert.deepEqual(argsOf(made, 'events.list')?.[1], { scope: undefined, hosts: [HOST.id] });
});

test('what makes no sense is refused before anything is sent', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const refused = async (query: string, headers = {}) => {
    const answer = await ask(api, { url: `/api/v1/events${query}`, headers: { ...as('viewer'), ...headers } });
    assert.deepEqual([answer.statusCode, answer.json().code], [400, 'VALIDATION'], query);
  };
  for (const query of ['?type=a%20b', '?type=*x', '?host=a/b', '?tag=', '?since=now', '?after=-1', '?more=1']) {
    await refused(query);
  }
  for (const query of ['?until=2030-01-01', '?limit=5', '?cursor=x']) await refused(query);
  await refused('?after=5', JSON_PAGE);
  await refused('', { 'last-event-id': 'five' });
  assert.ok(wantsPage('application/json') && wantsPage('application/json, text/event-stream'));
  assert.ok(!wantsPage(undefined) && !wantsPage('*/*') && !wantsPage('text/event-stream, application/json'));
});

test('a stream ends with the token that opened it, and with the scope of its host', async (t) => {
  const made = await served(t);
  const open = (path: string, token: 'viewer' | 'viewer#lab') => read(t, `${made.base}/api/v1/${path}`, as(token));
  const [all, ofHost] = [await open('events', 'viewer'), await open('hosts/edge-1/events', 'viewer#lab')];
  const ended = async ({ response }: typeof all) =>
    await waitFor('its end', () => response.destroyed || response.errored !== null);
  made.retag(HOST.id, ['other']);
  await ended(ofHost);
  assert.ok(!all.response.destroyed);
  made.revokeToken('id-viewer');
  await ended(all);
});
