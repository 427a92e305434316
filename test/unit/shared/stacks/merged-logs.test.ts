/** The logs of a stack over a made-up Docker: they end when the last of them does, however its end comes. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { StackLogLine } from '../../../../shared/messages/stack.ts';
import { PRESSING, type SharedBytes } from '../../../../shared/stacks/docker-reader.ts';
import { MergedLogs, stackLogOptions } from '../../../../shared/stacks/merged-logs.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker } from '../../agent/docker/fake-docker.ts';

const ID = 'a'.repeat(64);
const LABELS = { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'web' };

function frame(text: string): Buffer {
  const head = Buffer.from([1, 0, 0, 0, 0, 0, 0, text.length]);
  return Buffer.concat([head, Buffer.from(text)]);
}

for (const turns of [0, 1, 2, 3, 5, 10]) {
  test(`a log whose end comes ${turns} turns after its last line`, async (t) => {
    const docker = await fakeDocker(t, async (request, response) => {
      const { pathname } = new URL(request.url ?? '', 'http://docker');
      if (pathname.endsWith('/containers/json')) {
        response.end(JSON.stringify([{ Id: ID, Names: ['/shop-web-1'], Labels: LABELS }]));
      } else if (pathname.endsWith('/logs')) {
        response.write(frame('2026-01-01T00:00:00.000000000Z said\n'));
        for (let turn = 0; turn < turns; turn++) await setImmediate();
        response.end();
      } else response.end(JSON.stringify({ Config: { Tty: false } }));
    });
    const engine = await engineAt(t, docker.socket);
    for (let times = 0; times < 20; times++) {
      const options = { stack: 'shop', follow: false, tail: 'all' } as const;
      const logs = new MergedLogs(engine, options, new AbortController().signal);
      await logs.open();
      const said: string[] = [];
      const read = async () => {
        for await (const lines of logs.batches()) said.push(...lines.map(({ line }) => line));
      };
      await within(5_000, 'the end of the log', read());
      assert.deepEqual(said, ['said']);
    }
  });
}

test('a log that cannot wait is read before others, and before one of which nothing has come yet', async () => {
  const silent = new PassThrough();
  const pressed = Object.assign(new PassThrough(), { isPressing: false });
  const streams: Record<string, SharedBytes> = { silent, pressed };
  const labels = (name: string) => ({ ...LABELS, 'com.docker.compose.service': name });
  const reader = {
    clock: new FakeClock(),
    json: async ({ path }: { path: string }) =>
      path === '/containers/json'
        ? ['silent', 'pressed'].map((Id) => ({ Id, Names: [`/${Id}`], Labels: labels(Id) }))
        : { Config: { Tty: false } },
    stream: async ({ path }: { path: string }) => streams[path.split('/')[2] ?? ''] ?? assert.fail(path),
  };
  const ending = new AbortController();
  const logs = new MergedLogs(reader, { stack: 'shop', follow: false, tail: 'all' }, ending.signal);
  await logs.open();
  const batches = logs.batches();
  const first = batches.next();
  pressed.write(frame('2026-01-01T00:00:02.000000000Z late\n'));
  await setImmediate();
  assert.equal(await Promise.race([first.then(() => 'read'), setImmediate('waits')]), 'waits');
  pressed.isPressing = true;
  pressed.emit(PRESSING);
  const { value: lines } = (await first) as IteratorYieldResult<StackLogLine[]>;
  assert.deepEqual(
    lines.map(({ line }) => line),
    ['late'],
  );
  ending.abort(new Error('the test is over'));
  await assert.rejects(batches.next(), /the test is over/);
});

test('containers that were read before are read on from there, also when they start later; others as is asked', async () => {
  const [known, fresh, later] = ['known', 'fresh', 'later'];
  const events = new PassThrough();
  const asked: Record<string, unknown>[] = [];
  const reader = {
    clock: new FakeClock(),
    json: async ({ path }: { path: string }) =>
      path === '/containers/json'
        ? [known, fresh].map((Id) => ({ Id, Names: [`/${Id}`], Labels: LABELS }))
        : { Config: { Tty: false } },
    stream: async ({ path, query }: { path: string; query?: object }) => {
      if (path === '/events') return events;
      asked.push({ id: path.split('/')[2], ...query });
      return new PassThrough();
    },
  };
  const params = {
    ...{ stack: 'shop', follow: true, tail: 3, since: '5' },
    read: [known, later].map((id) => ({ id, since: '7.5' })),
  };
  const ending = new AbortController();
  const logs = new MergedLogs(reader, stackLogOptions(params, 0), ending.signal);
  await logs.open();
  for (const ID of [later, 'new']) {
    events.write(`${JSON.stringify({ Actor: { ID, Attributes: { name: ID, ...LABELS } } })}\n`);
  }
  await waitFor('all logs', () => asked.length === 4);
  assert.deepEqual(
    asked.map(({ id, tail, since }) => [id, tail, since]),
    [
      [known, 'all', '7.5'],
      [fresh, 3, '5'],
      [later, 'all', '7.5'],
      ['new', 'all', '5'],
    ],
  );
  ending.abort(new Error('the test is over'));
  await assert.rejects(logs.batches().next(), /the test is over/);
});
