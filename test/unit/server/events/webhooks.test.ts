/** Webhooks against a real receiver: in order, signed, until it takes what it is sent, and nowhere that is refused. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { Audit } from '../../../../server/audit/audit.ts';
import { Secrets } from '../../../../server/authority/secrets.ts';
import { EventRetention } from '../../../../server/events/retention.ts';
import { isRefused, safeLookup } from '../../../../server/events/safe-address.ts';
import { Webhooks } from '../../../../server/events/webhooks.ts';
import { signature } from '../../../../server/signed-post.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { add, anEvent, LAB, type Opened, openEvents, SHOP } from './fixture.ts';

const SILENT = { warn: () => undefined, info: () => undefined, error: () => undefined };
const ADMIN = { name: 'ann' };

interface Post {
  headers: IncomingHttpHeaders;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  body: any;
}

/** Takes posts, and answers as it is told. */
async function receiver(cleanup: Cleanup) {
  const posts: Post[] = [];
  const answer = { status: 204, headers: {} as Record<string, string> };
  const server = createServer(async (request, response) => {
    const body = await text(request);
    posts.push({ headers: request.headers, text: body, body: JSON.parse(body) });
    response.writeHead(answer.status, answer.headers).end('ignored');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  defer(cleanup, () => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/in?key=k`;
  const ids = () => posts.flatMap(({ body }) => body.events.map(({ id }: { id: number }) => id));
  return { posts, answer, url, ids };
}

const key = randomBytes(32);

/** On the clock of the system: what goes over a network takes its own time. */
async function open(cleanup: Cleanup, opened: Opened, more: object = {}) {
  const audit = new Audit({ store: opened.store, clock: opened.clock, log: SILENT });
  const secrets = new Secrets(async () => key);
  const webhooks = await Webhooks.open({
    ...{ ...opened, audit, secrets, clock: systemClock, random: () => 0, log: SILENT, allowsLinkLocal: false },
    ...more,
  });
  defer(cleanup, () => webhooks.close());
  return { webhooks, audit };
}

test('events are posted in order, those that fit, signed by a secret that is shown once', async (t) => {
  const opened = await openEvents(t);
  await add(opened.eventLog, anEvent('container.start'));
  const { posts, url, ids } = await receiver(t);
  const { webhooks, audit } = await open(t, opened);
  const wanted = { url, name: 'chat', types: ['container'], tags: ['lab'] };
  const { webhook, secret } = await webhooks.create(wanted, ADMIN);
  await add(opened.eventLog, anEvent('container.die'), anEvent('container.die', SHOP), anEvent('network.connect'));
  await add(opened.eventLog, anEvent('container.start'));
  await waitFor('the events', () => ids().length === 2);
  assert.deepEqual(ids(), [2, 5], 'not what was before it');
  const [first] = posts;
  assert.ok(first);
  assert.deepEqual([first.body.webhook, first.body.events[0].host], [webhook.id, 'lab']);
  const at = String(first.headers['fairlead-timestamp']);
  assert.equal(first.headers['fairlead-signature'], `v1=${signature(secret, at, Buffer.from(first.text))}`);
  await waitFor('its place', async () => (await webhooks.get(webhook.id)).behind === 0);
  const view = await webhooks.get(webhook.id);
  assert.deepEqual(
    [view.state, view.url, view.types, view.tags, view.error],
    ['ok', url, ['container'], ['lab'], undefined],
  );
  const [row] = await opened.store.webhooks.all();
  assert.ok(!JSON.stringify([row, view, await audit.list({})]).includes(secret));
  assert.ok(!JSON.stringify([row, await audit.list({})]).includes('key=k'));
});

test('a receiver that is away gets all of it when it is back, over a restart, and it is seen to fail', async (t) => {
  const opened = await openEvents(t);
  const { answer, url, ids, posts } = await receiver(t);
  const first = await open(t, opened);
  const { webhook } = await first.webhooks.create({ url }, ADMIN);
  answer.status = 503;
  await add(opened.eventLog, anEvent('container.start'));
  await waitFor('a try', () => posts.length > 0);
  await waitFor('its state', async () => (await first.webhooks.get(webhook.id)).state === 'retrying');
  const { error, failures, behind } = await first.webhooks.get(webhook.id);
  assert.match(error ?? '', /^webhook:127\.0\.0\.1:\d+ answered 503$/);
  assert.deepEqual([failures >= 1, behind], [true, 1]);
  await first.webhooks.close();
  const later = { ...systemClock, now: () => Date.now() + 61_000 };
  const second = await open(t, opened, { clock: later });
  assert.equal((await second.webhooks.get(webhook.id)).state, 'failing');
  posts.length = 0;
  answer.status = 200;
  await add(opened.eventLog, anEvent('container.die'));
  await waitFor('the events', () => ids().includes(2));
  assert.deepEqual(ids(), [1, 2]);
  await waitFor('its state', async () => (await second.webhooks.get(webhook.id)).state === 'ok');
});

test('nobody is led elsewhere: a redirect is a failure', async (t) => {
  const opened = await openEvents(t);
  const [here, there] = [await receiver(t), await receiver(t)];
  Object.assign(here.answer, { status: 307, headers: { location: there.url } });
  const { webhooks } = await open(t, opened);
  const { webhook } = await webhooks.create({ url: here.url }, ADMIN);
  await assert.rejects(webhooks.test(webhook.id, ADMIN), { code: 'SERVER_UNREACHABLE', message: /answered 307/ });
  assert.deepEqual([here.posts.length, there.posts.length], [1, 0]);
  here.answer.status = 200;
  await webhooks.test(webhook.id, ADMIN);
  assert.equal(here.posts[1]?.body.events[0].type, 'webhook.test');
});

test('what was dropped before it came is told as a gap', async (t) => {
  const opened = await openEvents(t);
  const { eventLog, store, clock } = opened;
  const { url, posts, answer } = await receiver(t);
  const first = await open(t, opened);
  await first.webhooks.create({ url }, ADMIN);
  await first.webhooks.close();
  await add(eventLog, ...Array.from({ length: 10 }, () => anEvent('container.start')));
  const retention = new EventRetention({ store, eventLog, clock, log: SILENT, keepMs: undefined, maxEvents: 3 });
  await retention.pass();
  await retention.close();
  answer.status = 200;
  await open(t, opened);
  await waitFor('the events', () => posts.length === 2);
  const [gap, rest] = posts.map(({ body }) => body.events);
  assert.deepEqual([gap[0].type, gap[0].attributes], ['events.gap', { reason: 'retention', from: '1', to: '7' }]);
  assert.deepEqual(
    rest.map(({ id }: { id: number }) => id),
    [8, 9, 10],
  );
});

test('a removed one gets nothing more, and one whose secret cannot be opened says so', async (t) => {
  const opened = await openEvents(t);
  const { url, posts } = await receiver(t);
  const { webhooks } = await open(t, opened);
  const { webhook } = await webhooks.create({ url, hosts: [LAB] }, ADMIN);
  const kept = await webhooks.create({ url }, ADMIN);
  await webhooks.remove(webhook.id, ADMIN);
  await assert.rejects(webhooks.remove(webhook.id, ADMIN), { code: 'NOT_FOUND' });
  await assert.rejects(webhooks.test(webhook.id, ADMIN), { code: 'NOT_FOUND' });
  await add(opened.eventLog, anEvent('container.start'));
  await waitFor('the other one', () => posts.length === 1);
  assert.equal(posts[0]?.body.webhook, kept.webhook.id);
  await webhooks.close();
  const other = await open(t, opened, { secrets: new Secrets(async () => randomBytes(32)) });
  const [view] = (await other.webhooks.list({})).items;
  assert.deepEqual([view?.state, view?.url], ['failing', '']);
  await other.webhooks.remove(kept.webhook.id, ADMIN);
});

test('URLs with credentials, of other schemes, and of addresses that clouds trust are refused', async (t) => {
  const opened = await openEvents(t);
  const { webhooks } = await open(t, opened);
  const refused = [
    ...['', 'x', 'ftp://a/', 'https://u:p@a/', 'https://u@a/', `https://a/${'x'.repeat(3000)}`],
    ...[
      'http://169.254.169.254/latest',
      'http://2852039166/',
      'http://0xa9fea9fe/',
      'http://[::ffff:169.254.169.254]/',
    ],
    ...[
      'http://[fe80::1]/',
      'http://[fd00:ec2::254]/',
      'http://100.100.100.200/',
      'http://0/',
      'http://[64:ff9b::a9fe:a9fe]/',
    ],
  ];
  for (const url of refused) await assert.rejects(webhooks.create({ url }, ADMIN), { code: 'VALIDATION' }, url);
  assert.deepEqual((await webhooks.list({})).items, []);
  const ofClouds = ['fd00:ec2::23', 'fd20:ce::254', 'fd00:c1::a9fe:a9fe', 'fd00:42::42', 'fd00:a9fe:a9fe::1'];
  const translated = ['64:ff9b:1::a9fe:a9fe', '64:ff9b:1:fffe::a9fe:a9fe', '::ffff:0:a9fe:a9fe', '2002:a9fe:a9fe::1'];
  for (const address of [...ofClouds, 'fd00:100::100:200', ...translated]) assert.ok(isRefused(address), address);
  for (const fine of ['10.0.0.1', '127.0.0.1', '::1', '2001:db8::1', 'fd00::1', '8.8.8.8'])
    assert.ok(!isRefused(fine), fine);
  const { webhooks: open2 } = await open(t, opened, { allowsLinkLocal: true });
  await open2.create({ url: 'http://169.254.169.254/' }, ADMIN);
});

test('a name that leads to such an address is refused as it is asked for', async () => {
  const look = (hostname: string) =>
    new Promise((resolve) => safeLookup(hostname, { all: true }, (error, addresses) => resolve(error ?? addresses)));
  assert.ok(Array.isArray(await look('localhost')));
  assert.match(String(await look('169.254.169.254')), /webhooks do not go to 169\.254\.169\.254/);
});

test('secrets open in their own context alone, and not once they were changed', async () => {
  const secrets = new Secrets(async () => key);
  const sealed = await secrets.seal('hush', 'webhook 1');
  assert.equal(await secrets.open(sealed, 'webhook 1'), 'hush');
  assert.notEqual(await secrets.seal('hush', 'webhook 1'), sealed);
  await assert.rejects(secrets.open(sealed, 'webhook 2'), { code: 'VALIDATION' });
  const bytes = Buffer.from(sealed, 'base64');
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assert.rejects(secrets.open(changed.toString('base64'), 'webhook 1'), { code: 'VALIDATION' });
  }
  await assert.rejects(secrets.open('', 'webhook 1'), { code: 'VALIDATION' });
});
