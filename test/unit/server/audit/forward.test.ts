/** Receivers of the audit log: all rows, in order, whatever fails on the way. */
import assert from 'node:assert/strict';
import { appendFile, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { FileSink } from '../../../../server/audit/file-sink.ts';
import { type Batch, Forwarder } from '../../../../server/audit/forwarder.ts';
import { WebhookSink } from '../../../../server/audit/webhook-sink.ts';
import { tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { openTrail } from './trail.ts';

const batch = (...ids: number[]): Batch => ({
  text: ids.map((id) => `{"id":${id}}\n`).join(''),
  firstId: ids[0] ?? 0,
  lastId: ids.at(-1) ?? 0,
});
const log = { warn: () => undefined, info: () => undefined };

test('rows are brought in order, again until the receiver has them, and from there on after a restart', async (t) => {
  const { store, audit, clock, add } = await openTrail(t);
  const got: number[] = [];
  let fails = 2;
  const sink = {
    key: 'test',
    name: 'test',
    async send({ text }: Batch) {
      if (fails-- > 0) throw new Error('away');
      got.push(
        ...text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line).id),
      );
    },
    close: async () => undefined,
  };
  const deps = { sink, store, audit, clock, log, random: () => 0 };
  await add(450);
  const first = await Forwarder.start(deps);
  // Time passes until what failed is tried again.
  await waitFor('all rows', () => {
    clock.advance(1_000);
    return got.length === 450;
  });
  assert.deepEqual([first.position, first.failures], [450, 2]);
  await add(1);
  await waitFor('the new row', () => {
    clock.advance(50);
    return got.length === 451;
  });
  assert.deepEqual(await first.lag(), { rows: 0, ms: 0 });
  await first.close();
  await add(2);
  const second = await Forwarder.start(deps);
  t.after(() => second.close());
  await waitFor('the rest', () => got.length === 453);
  assert.deepEqual(
    got,
    Array.from({ length: 453 }, (_, index) => index + 1),
  );
});

test('a receiver that is away is reported once a minute, with how far it is behind', async (t) => {
  const { store, audit, clock, add } = await openTrail(t);
  const warned: { rowsBehind: number }[] = [];
  const names = { key: 'test', name: 'test' };
  const sink = { ...names, send: () => Promise.reject(new Error('away')), close: async () => undefined };
  await add(3);
  const forwarder = await Forwarder.start({
    ...{ sink, store, audit, clock, random: () => 0 },
    log: { warn: (line: unknown) => void warned.push(line as { rowsBehind: number }), info: () => undefined },
  });
  t.after(() => forwarder.close());
  await waitFor('ten failures', () => {
    clock.advance(1_000);
    return forwarder.failures >= 10;
  });
  assert.ok(warned.length >= 1 && warned.length <= 1 + clock.monotonic() / 60_000, `${warned.length} warnings`);
  assert.equal(warned[0]?.rowsBehind, 3);
  assert.deepEqual(await forwarder.lag(), { rows: 3, ms: clock.monotonic() });
});

test('a file gets whole lines, is closed to others, and is followed when it is moved or emptied', async (t) => {
  const dir = await tempDir(t);
  const path = join(dir, 'audit.ndjson');
  const sink = new FileSink(path);
  t.after(() => sink.close());
  await sink.check();
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await sink.send(batch(1, 2));
  await rename(path, `${path}.1`);
  await sink.send(batch(3));
  assert.equal(await readFile(`${path}.1`, 'utf8'), '{"id":1}\n{"id":2}\n');
  assert.equal(await readFile(path, 'utf8'), '{"id":3}\n');
  await writeFile(path, '');
  await sink.send(batch(4));
  assert.equal(await readFile(path, 'utf8'), '{"id":4}\n');
});

test('a line that a crash tore stays alone, and what is no file is refused', async (t) => {
  const dir = await tempDir(t);
  const path = join(dir, 'audit.ndjson');
  await appendFile(path, '{"id":1}\n{"id":2');
  const sink = new FileSink(path);
  await sink.send(batch(2));
  assert.equal(await readFile(path, 'utf8'), '{"id":1}\n{"id":2\n{"id":2}\n');
  await sink.close();
  for (const bad of [dir, '/dev/null', join(dir, 'none', 'x')]) {
    await assert.rejects(new FileSink(bad).check(), {
      code: 'VALIDATION',
      message: /--audit-file: .* cannot be written/,
    });
  }
  await symlink(path, join(dir, 'link'));
  const linked = new FileSink(join(dir, 'link'));
  await linked.check();
  await linked.close();
});

test('the path of a URL, which may be a secret, is in no line of the log and in no error', async (t) => {
  const { store, audit, clock, add } = await openTrail(t);
  const lines: string[] = [];
  const answer = { status: 500 };
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(answer.status).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const url = new URL(`http://${host}/services/T0/hidden?key=hidden`);
  const sink = new WebhookSink({ url, secret: undefined, ca: undefined, clock });
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const forwarder = await Forwarder.start({ sink, store, audit, clock, log, random: () => 0 });
  t.after(() => forwarder.close());
  await add(1);
  await waitFor('a failure', () => {
    clock.advance(50);
    return lines.length === 1;
  });
  answer.status = 204;
  await waitFor('the row', () => {
    clock.advance(1_000);
    return lines.length === 2;
  });
  for (const line of lines) {
    assert.doesNotMatch(line, /hidden|services/);
    assert.equal(JSON.parse(line).receiver, `webhook:${host}`);
  }
  assert.match(lines[0] ?? '', /answered 500/);
  assert.ok(
    (await store.auditSinks.position(`webhook:http://${host}/services/T0/hidden`)) > 0,
    'each path has its place',
  );
});
