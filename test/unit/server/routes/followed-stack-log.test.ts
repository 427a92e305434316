/** A stack's logs go on when their host was away: each container's from where it stopped, once, and not for ever. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import { type TestContext, test } from 'node:test';
import { COMEBACK_MS } from '../../../../server/routes/limits.ts';
import { type ErrorCode, FairleadError } from '../../../../shared/errors.ts';
import { MAX_READ_CONTAINERS, type StackLogLine, stackLogs } from '../../../../shared/messages/stack.ts';
import { fits } from '../../../../shared/validate.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import type { Asked } from './fake-host.ts';
import { as, fixture, listen } from './fakes.ts';

const LOGS = '/api/v1/hosts/edge-1/stacks/shop/logs';
const NDJSON = 'application/x-ndjson';
const OPENED = '2026-01-02T03:04:00.000Z';
const [WEB, DB, NEW] = ['a', 'b', 'c'].map((letter) => letter.repeat(64)) as [string, string, string];
const NAMES: Record<string, string> = { [WEB]: 'shop-web-1', [DB]: 'shop-db-1', [NEW]: 'shop-web-2' };
const lost = () => new FairleadError('STREAM_INTERRUPTED', 'the session ended');
const timeOf = (n: number) => `2026-01-02T03:04:05.${String(n).padStart(3, '0')}000000Z`;
/** 2 s before that. */
const sinceOf = (n: number) => `1767323043.${String(n).padStart(3, '0')}000000`;
const said = (id: string, n: number, line: string, more: Partial<StackLogLine> = {}): StackLogLine => ({
  ...{ service: 'web', container: NAMES[id] ?? id.slice(0, 12), id, stream: 'stdout', time: timeOf(n), line },
  ...more,
});

/** What comes of one opening; what is no batch of lines ends it. */
type Opening = (StackLogLine[] | Error | 'stay')[];

/** @param livedMs how long each opening lasts at least */
async function following(
  t: TestContext,
  openings: (Opening | ErrorCode)[],
  { query = '', accept = NDJSON, livedMs = 0 } = {},
) {
  const clock = new FakeClock();
  let nth = 0;
  const made = await fixture({
    overrides: { clock },
    answers: {
      'stack.logs': ({ stream, params }: Asked) => {
        assert.ok(fits(stackLogs.params, params), JSON.stringify(params));
        const opening = openings[Math.min(nth++, openings.length - 1)] ?? [];
        if (typeof opening === 'string') throw new FairleadError(opening, 'not now');
        stream.itemList = (async function* () {
          for (const one of opening) {
            if (one === 'stay') await stream.wasReset.promise;
            else if (one instanceof Error) {
              clock.advance(livedMs);
              throw one;
            } else yield one;
          }
        })();
        return { containers: 2, openedAt: OPENED };
      },
    },
  });
  const url = await listen(made);
  t.after(() => made.api.close());
  const request = http.get(`${url}${LOGS}?${query}`, { headers: { ...as('viewer'), accept }, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const { promise: end, resolve } = Promise.withResolvers<'whole' | 'broken'>();
  let text = '';
  response.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  response.on('end', () => resolve('whole')).on('error', () => resolve('broken'));
  /** Lets the clock go on until the answer has ended. */
  const ended = async (stepMs = 100) => {
    let how: string | undefined;
    void end.then((ending) => {
      how = ending;
    });
    await waitFor('the end', () => {
      if (how === undefined) clock.advance(stepMs);
      return how;
    });
    return how;
  };
  const asked = () => made.host.asked.map(({ params }) => params);
  const records = () =>
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  return { response, ended, asked, records, text: () => text, clock, host: made.host };
}

test('each container goes on with its next line, whatever it is called, and a new one begins at its start', async (t) => {
  const again = [
    said(DB, 1, 'db 1'),
    said(WEB, 2, 'web 2', { container: 'renamed' }),
    said(WEB, 2, 'web 2', { container: 'renamed' }),
    said(WEB, 2, 'web 2 err', { container: 'renamed', stream: 'stderr' }),
    said(NEW, 1, 'new 1'),
    said(WEB, 3, 'web 3', { container: 'renamed' }),
    said(DB, 4, 'db 4'),
  ];
  const { ended, asked, text, response } = await following(
    t,
    [[[said(DB, 1, 'db 1')], [said(WEB, 1, 'web 1'), said(WEB, 2, 'web 2')], lost()], [again]],
    { query: 'follow=1&timestamps=1&service=web', accept: 'text/plain' },
  );
  assert.equal(response.headers['x-fairlead-log-opened'], OPENED);
  assert.equal(await ended(), 'whole');
  assert.deepEqual(text().trim().split('\n'), [
    `shop-db-1 | ${timeOf(1)} db 1`,
    `shop-web-1 | ${timeOf(1)} web 1`,
    `shop-web-1 | ${timeOf(2)} web 2`,
    `renamed | ${timeOf(2)} web 2`,
    `renamed | ${timeOf(2)} web 2 err`,
    `shop-web-2 | ${timeOf(1)} new 1`,
    `renamed | ${timeOf(3)} web 3`,
    `shop-db-1 | ${timeOf(4)} db 4`,
  ]);
  const common = { stack: 'shop', services: ['web'], follow: true };
  const read = [
    { id: DB, since: sinceOf(1) },
    { id: WEB, since: sinceOf(2) },
  ];
  assert.deepEqual(asked(), [common, { ...common, read }]);
});

test('a tail is not asked for twice: what had said nothing says all since it was opened', async (t) => {
  const { ended, asked, records } = await following(
    t,
    [
      [[said(WEB, 1, 'one')], lost()],
      [[said(WEB, 1, 'one'), said(DB, 2, 'two')], lost()],
      [[said(DB, 2, 'two'), said(DB, 3, 'three')]],
    ],
    { query: 'follow=1&tail=1' },
  );
  assert.equal(await ended(), 'whole');
  assert.deepEqual(
    records().map(({ line }) => line),
    ['one', 'two', 'three'],
  );
  const [first, second, third] = asked();
  assert.deepEqual(first, { stack: 'shop', follow: true, tail: 1 });
  assert.deepEqual(second, { stack: 'shop', follow: true, since: OPENED, read: [{ id: WEB, since: sinceOf(1) }] });
  assert.deepEqual(
    (third as { read: { id: string }[] }).read.map(({ id }) => id),
    [WEB, DB],
  );
});

test('what said nothing at all is asked for as before, or, when its tail is over, since it was opened', async (t) => {
  for (const [livedMs, again] of [
    [0, { tail: 3 }],
    [2_500, { since: OPENED }],
  ] as const) {
    const { ended, asked } = await following(t, [[lost()], []], { query: 'follow=1&tail=3', livedMs });
    assert.equal(await ended(), 'whole');
    assert.deepEqual(asked()[1], { stack: 'shop', follow: true, read: [], ...again });
  }
  const { ended, asked } = await following(t, [[lost()], []], { query: 'follow=1&since=10m' });
  assert.equal(await ended(), 'whole');
  assert.equal(asked()[1]?.['since'], (Date.parse('2026-01-02T02:54:00Z') / 1000).toFixed(9));
});

test('a container made anew under the same name has no gap; one whose log was rotated does', async (t) => {
  const first: Opening = [[said(WEB, 1, 'one'), said(DB, 2, 'two')], lost()];
  const anew = said(NEW, 5, 'anew', { container: 'shop-web-1' });
  const made = await following(t, [first, [[said(DB, 2, 'two'), anew]]], { query: 'follow=1', accept: 'text/plain' });
  assert.equal(await made.ended(), 'whole');
  assert.equal(made.text(), 'shop-web-1 | one\nshop-db-1 | two\nshop-web-1 | anew\n');

  const late = { time: '2026-01-02T03:09:00.000000000Z' };
  const rotated: Opening = [[said(WEB, 1, 'one'), said(DB, 0, 'late', late)]];
  const records = await following(t, [first, rotated], { query: 'follow=1' });
  assert.equal(await records.ended(), 'whole');
  const { gap } = records.records()[2];
  assert.deepEqual(
    { ...gap, detail: '' },
    {
      ...{ service: 'web', container: 'shop-db-1', id: DB, after: timeOf(2), detail: '' },
    },
  );
  assert.match(gap.detail, /was rotated/);
  assert.equal(records.records()[3].line, 'late');

  const text = await following(t, [first, rotated], { query: 'follow=1', accept: 'text/plain' });
  assert.equal(await text.ended(), 'broken');
  assert.equal(text.asked().length, 2);
});

test('a host that stays away ends it after 5 minutes; what is no interruption does at once', async (t) => {
  const first: Opening = [[said(WEB, 1, 'one')], lost()];
  const away = await following(t, [first, 'HOST_OFFLINE'], { query: 'follow=1' });
  const before = away.clock.monotonic();
  assert.equal(await away.ended(2_500), 'broken');
  assert.ok(away.clock.monotonic() - before >= COMEBACK_MS);
  assert.equal(away.records().at(-1).error.code, 'HOST_OFFLINE');

  const denied = await following(t, [first, 'DENIED_BY_HOST'], { query: 'follow=1' });
  assert.equal(await denied.ended(), 'broken');
  assert.deepEqual([denied.asked().length, denied.records().at(-1).error.code], [2, 'DENIED_BY_HOST']);
});

test('a Docker that breaks off is waited for, and why a log cannot be read is said once', async (t) => {
  const gone = new FairleadError('DOCKER_UNREACHABLE', 'Docker broke off the connection');
  const { time: _, ...instead } = said(DB, 0, '(its log cannot be read: it has none)');
  const openings: (Opening | ErrorCode)[] = [
    [[instead, said(WEB, 1, 'one')], gone],
    'DOCKER_UNREACHABLE',
    [[instead, said(WEB, 1, 'one'), said(WEB, 2, 'two')]],
  ];
  const { ended, records } = await following(t, openings, { query: 'follow=1' });
  assert.equal(await ended(), 'whole');
  assert.deepEqual(
    records().map(({ line }) => line),
    [instead.line, 'one', 'two'],
  );
});

test('who does not want it, or reads no more than there is, is told of an interruption at once', async (t) => {
  for (const query of ['follow=1&resume=0', 'follow=0']) {
    const { ended, asked, records } = await following(t, [[[said(WEB, 1, 'one')], lost()]], { query });
    assert.equal(await ended(), 'broken');
    assert.equal(records().at(-1).error.code, 'STREAM_INTERRUPTED');
    assert.equal(asked().length, 1);
  }
});

test('a client that goes on says how far it has read, which holds over the next interruption', async (t) => {
  const query = `follow=1&read=${WEB}@12.5&read=${DB}@${sinceOf(1)}`;
  const { ended, asked } = await following(t, [[[said(WEB, 3, 'three')], lost()], []], { query });
  assert.equal(await ended(), 'whole');
  const db = { id: DB, since: sinceOf(1) };
  assert.deepEqual(
    asked().map(({ read }) => read),
    [
      [{ id: WEB, since: '12.5' }, db],
      [db, { id: WEB, since: sinceOf(3) }],
    ],
  );
});

test('of more containers than there is room for, those heard longest ago are asked for like new ones, from then on', async (t) => {
  const ids = Array.from({ length: MAX_READ_CONTAINERS + 2 }, (_, n) => n.toString(16).padStart(64, '0'));
  const lines = ids.map((id, n) => said(id, n, `line ${n}`));
  const { ended, asked } = await following(t, [[lines, lost()], []], { query: 'follow=1' });
  assert.equal(await ended(), 'whole');
  const { read, since } = asked()[1] as { read: { id: string }[]; since: string };
  assert.deepEqual([read.length, read[0]?.id, since], [MAX_READ_CONTAINERS, ids[2], '1767323045.001000001']);
});

test('a client that leaves ends the work on the host', async (t) => {
  const { response, host, text } = await following(t, [[[said(WEB, 1, 'one')], 'stay']], { query: 'follow=1' });
  await waitFor('a line', () => text() !== '');
  response.destroy();
  await waitFor('the end of the work', () => host.asked[0]?.stream.resetWith?.code === 'CANCELLED');
  assert.equal(host.asked.length, 1);
});
