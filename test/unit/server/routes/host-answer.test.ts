/** Answers that hostile hosts make large, and clients that do not read them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { type Asked, HOST } from './fake-host.ts';
import { as, ask, fixture, listen } from './fakes.ts';

const LIST = '/api/v1/hosts/edge-1/containers';

/** A host that sends what `items` makes, for each question anew. */
const listing = (items: () => AsyncIterable<object> | Iterable<object>) => ({
  'container.list': ({ stream }: Asked) => {
    stream.itemList = items();
    return { count: 0 };
  },
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

for (const [name, url] of [
  ['of one host', LIST],
  ['of all hosts', '/api/v1/containers'],
] as const) {
  test(`a list ${name} holds texts, not the objects that they were`, async (t) => {
    let alive = -1;
    const items = async function* () {
      const seen: WeakRef<object>[] = [];
      for (let i = 0; i < 200; i++) {
        const item = { a: Array.from({ length: 1000 }, () => ({})) };
        seen.push(new WeakRef(item));
        yield item;
      }
      // References made in this turn count as alive until its end.
      await setImmediate();
      collectGarbage();
      alive = seen.filter((each) => each.deref() !== undefined).length;
    };
    const { api } = await fixture({ answers: listing(items) });
    t.after(() => api.close());
    const answer = await ask(api, { url, headers: as('viewer') });
    assert.equal(answer.json().items.length, 200);
    assert.ok(alive >= 0 && alive <= 2, `${alive} objects are held`);
  });
}

test('what a host adds under our own names does not count, and nothing of it breaks the JSON', async (t) => {
  const odd = { Id: '"},{"\u2028\u0000é', Created: 1e300, host: 'forged', hostId: 'forged', Names: ['😀'] };
  const { api } = await fixture({ answers: listing(() => [odd, {}]) });
  t.after(() => api.close());
  const everywhere = (await ask(api, { url: '/api/v1/containers', headers: as('viewer') })).json();
  const ours = { host: HOST.name, hostId: HOST.id };
  assert.deepEqual(everywhere, { items: [ours, { ...odd, ...ours }], unreachable: [] });
  const page = (await ask(api, { url: `${LIST}?limit=1`, headers: as('viewer') })).json();
  assert.deepEqual(page.items, [{}]);
  const next = await ask(api, { url: `${LIST}?limit=1&cursor=${page.nextCursor}`, headers: as('viewer') });
  assert.deepEqual(next.json().items, [odd], 'what fits into no cursor is in its place all the same');
  const last = await ask(api, {
    url: `${LIST}?cursor=${next.json().nextCursor ?? page.nextCursor}`,
    headers: as('viewer'),
  });
  assert.equal(last.statusCode, 200, 'whatever a host says, its cursors can be used');
});

test('an empty list is one', async (t) => {
  const { api } = await fixture({ answers: listing(() => []) });
  t.after(() => api.close());
  const answer = await ask(api, { url: LIST, headers: as('viewer') });
  assert.match(answer.headers['content-type'] ?? '', /^application\/json/);
  assert.deepEqual(answer.json(), { items: [], nextCursor: null });
});

test('answers of a host that are in progress have a limit together, and give it back', async (t) => {
  const full = Promise.withResolvers<void>();
  let sent = 0;
  const items = async function* () {
    for (let i = 0; i < 15; i++) yield { Id: 'x'.repeat(1024 * 1024) };
    sent++;
    await full.promise;
  };
  const { api } = await fixture({ answers: listing(items) });
  t.after(() => api.close());
  const get = () => ask(api, { url: LIST, headers: as('viewer') });
  const first = [get(), get()];
  await waitFor('two lists', () => sent === 2);
  const third = await get();
  assert.deepEqual([third.statusCode, third.json().code], [503, 'OVERLOADED']);
  assert.ok(Number(third.headers['retry-after']) > 0);
  full.resolve();
  for (const answer of await Promise.all(first)) assert.equal(answer.json().items.length, 15);
  assert.equal((await get()).statusCode, 200);
});

test('a host that never comes to the end of its list is left at the deadline', async (t) => {
  const clock = new FakeClock();
  let sent = 0;
  const items = async function* () {
    yield { Id: 'a' };
    sent++;
    await new Promise(() => undefined);
  };
  const { api } = await fixture({ answers: listing(items), overrides: { clock } });
  t.after(() => api.close());
  const answer = ask(api, { url: LIST, headers: as('viewer') });
  await waitFor('the list to begin', () => sent === 1);
  clock.advance(30_000);
  assert.deepEqual([(await answer).statusCode, (await answer).json().code], [504, 'TIMEOUT']);
});

test('a client that does not read its answer is cut off', async (t) => {
  const clock = new FakeClock();
  const items = () => Array.from({ length: 12 }, () => ({ Id: 'x'.repeat(1024 * 1024) }));
  const made = await fixture({ answers: listing(items), overrides: { clock } });
  const url = await listen(made);
  t.after(() => made.api.close());
  const request = http.get(`${url}${LIST}`, { headers: as('viewer'), agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  clock.advance(120_000);
  let received = 0;
  response.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  const [error] = (await once(response, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET');
  assert.ok(received < 12 * 1024 * 1024);
});

test('an inspection too large for an answer is refused', async (t) => {
  const { api } = await fixture({ answers: { 'container.inspect': () => ({ a: '\0'.repeat(3 * 1024 * 1024) }) } });
  t.after(() => api.close());
  const answer = await ask(api, { url: `${LIST}/web`, headers: as('viewer') });
  assert.deepEqual([answer.statusCode, answer.json().code], [503, 'OVERLOADED']);
});
