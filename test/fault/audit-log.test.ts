/** The audit log under fire: killed while it writes, a full disk under its file, a receiver that misbehaves in every way. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { createCa, openCa } from '../../certs/authority.ts';
import { Audit } from '../../server/audit/audit.ts';
import { AuditTrail } from '../../server/audit/audit-trail.ts';
import { FileSink } from '../../server/audit/file-sink.ts';
import { WebhookSink } from '../../server/audit/webhook-sink.ts';
import { WEBHOOK_TIMEOUT_MS } from '../../server/signed-post.ts';
import { openStore } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const WRITER = fileURLToPath(new URL('audit-writer.ts', import.meta.url));
const ROUNDS = 3;

test('killed while it writes: what was answered stands, the chain is whole, and the file gets every row', async (t) => {
  const dir = await tempDir(t, 'audit');
  const [dataDir, caFile] = [join(dir, 'data'), join(dir, 'ca.json')];
  const material = await createCa({
    installationId: '00000000-0000-4000-8000-000000000000',
    clock: systemClock,
    bits: 2048,
  });
  await writeFile(caFile, JSON.stringify(material), { mode: 0o600 });
  const answered = new Set<string>();
  for (let round = 1; round <= ROUNDS; round++) {
    const child = spawn(process.execPath, [WRITER, dataDir, caFile], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    const exit = once(child, 'exit');
    let count = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.endsWith('}')) answered.add(`${round} ${line}`);
      if (++count === 400 + 37 * round) child.kill('SIGKILL');
    }
    assert.equal((await exit)[1], 'SIGKILL');

    const ca = openCa(material);
    const store = await openStore({ dataDir, clock: systemClock });
    const log = pino({ level: 'silent' });
    const audit = new Audit({ store, clock: systemClock, log });
    await audit.record({ actor: 'test', action: 'round', result: 'ok', detail: { round } });
    const policy = { keepMs: undefined, file: `${dataDir}.ndjson`, webhook: undefined };
    const authority = { trust: () => ({ pem: ca.certPem }), ca };
    const trail = await AuditTrail.open({
      store,
      audit,
      authority,
      policy,
      clock: systemClock,
      log,
      random: Math.random,
    });
    const end = await trail.verify();
    assert.ok(!('message' in end), JSON.stringify(end));
    assert.equal(trail.isIntact, true);
    const rows = await store.audit.read(0, Number.MAX_SAFE_INTEGER, 1_000_000);
    let ofRound = 1;
    const written = new Set<string>();
    for (const { action, detail } of rows) {
      if (action === 'round') ofRound += 1;
      else written.add(`${ofRound} ${detail}`);
    }
    for (const each of answered) assert.ok(written.has(each), `${each} was answered and is gone`);
    await waitFor('the file to have all rows', async () => (await trail.forwarders[0]?.lag())?.rows === 0);
    const lines = (await readFile(`${dataDir}.ndjson`, 'utf8')).split('\n').filter((line) => line.endsWith('}'));
    const ids = new Set(lines.map((line) => JSON.parse(line).id));
    assert.equal(ids.size, rows.length);
    await trail.close();
    await store.close();
  }
});

const batch = (id: number, bytes = 0) => ({
  text: `${JSON.stringify({ id, fill: 'x'.repeat(bytes) })}\n`,
  firstId: id,
  lastId: id,
});

test('a full disk under the file: nothing by halves, and it goes on once there is room', async (t) => {
  const disk = await mkdtemp(join(tmpdir(), 'fairlead-disk-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=131072,mode=0700', 'tmpfs', disk]);
  t.after(async () => {
    if (mounted.status === 0) spawnSync('umount', ['--lazy', disk]);
    await rm(disk, { recursive: true });
  });
  if (mounted.status !== 0) return t.diagnostic('not run: only root can mount a small disk');
  const path = join(disk, 'audit.ndjson');
  await writeFile(join(disk, 'ballast'), Buffer.alloc(80_000));
  const sink = new FileSink(path);
  t.after(() => sink.close());
  await sink.send(batch(1));
  await assert.rejects(sink.send(batch(2, 100_000)), { code: 'ENOSPC' });
  assert.equal((await readFile(path, 'utf8')).split('\n').length, 2, 'half a line is left behind');
  await rm(join(disk, 'ballast'));
  await sink.send(batch(2, 90_000));
  const ids = (await readFile(path, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).id);
  assert.deepEqual(ids, [1, 2]);
});

/** A receiver that does as it is told. */
async function receiver(t: TestContext, behave: (response: ServerResponse) => void): Promise<URL> {
  const server = createServer((request, response) => {
    request.resume().on('end', () => behave(response));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/in?key=secret-of-the-receiver`);
}

test('only a 2xx answer counts: not an error, a redirect, a dead connection or silence', async (t) => {
  const never = new AbortController().signal;
  const cases: [string, (response: ServerResponse) => void, RegExp][] = [
    ['500', (response) => response.writeHead(500).end(), /answered 500/],
    ['redirect', (response) => response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end(), /answered 307/],
    ['dies', (response) => response.destroy(), /cannot be reached: ECONNRESET/],
    [
      'dies in its answer',
      (response) => response.writeHead(200, { 'content-length': 10 }).write('x', () => response.destroy()),
      /cannot be reached/,
    ],
  ];
  for (const [name, behave, why] of cases) {
    const sink = new WebhookSink({ url: await receiver(t, behave), secret: 's', ca: undefined, clock: systemClock });
    await assert.rejects(sink.send(batch(1), never), (error: Error) => {
      assert.match(error.message, why, name);
      assert.doesNotMatch(error.message, /secret-of-the-receiver/);
      return true;
    });
    await sink.close();
  }
  const clock = new FakeClock();
  const silent = new WebhookSink({ url: await receiver(t, () => undefined), secret: undefined, ca: undefined, clock });
  const sent = silent.send(batch(1), never);
  clock.advance(WEBHOOK_TIMEOUT_MS);
  await assert.rejects(sent, { code: 'TIMEOUT' });
  const stopping = new AbortController();
  const stopped = silent.send(batch(1), stopping.signal);
  stopping.abort(new Error('the server stops'));
  await assert.rejects(stopped, /the server stops/);
  await silent.close();
  const flood = new WebhookSink({
    ...{
      url: await receiver(t, (response) => response.writeHead(200).end(Buffer.alloc(1024 * 1024))),
      secret: undefined,
    },
    ...{ ca: undefined, clock: systemClock },
  });
  await flood.send(batch(1), never);
  await flood.close();
});
