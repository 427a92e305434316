/** The logs of a stack over a made-up Docker: they end when the last of them does, however its end comes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { MergedLogs } from '../../../../agent/stacks/merged-logs.ts';
import { within } from '../../../support/wait.ts';
import { engineAt, fakeDocker } from '../docker/fake-docker.ts';

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
