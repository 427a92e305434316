/** The audit log from outside: whole as it comes, and every way to tamper with its store found by whoever checks it. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, test } from 'node:test';
import Database from 'better-sqlite3';
import { chainHash, GENESIS_HASH } from '../../shared/audit-chain.ts';
import { runCliHere } from '../support/cli.ts';
import { newToken, restartServer, type Server, startServer } from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const SECRET = 'shared with the receiver';
const cleanup = fileCleanup();
let server: Server;
let dir: string;
/** What sets up the receivers. */
let env: Record<string, string>;
const received: { id: number; hash: string; action: string }[] = [];
/** What the receiver does with the next deliveries. */
let answer: (request: IncomingMessage, body: string) => number | 'hang' | 'die' = () => 200;

before(async () => {
  dir = await tempDir(cleanup, 'audit');
  const receiver = createServer(async (request, response) => {
    const body = await text(request).catch(() => '');
    const what = answer(request, body);
    if (what === 'die') return void request.socket.destroy();
    if (what === 'hang') return;
    const mac = createHmac('sha256', SECRET).update(`${request.headers['fairlead-timestamp']}.${body}`).digest('hex');
    const isSigned = request.headers['fairlead-signature'] === `v1=${mac}`;
    if (isSigned && what === 200) for (const line of body.trim().split('\n')) received.push(JSON.parse(line));
    response.writeHead(isSigned ? what : 400).end();
  });
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  cleanup.after(() => {
    receiver.closeAllConnections();
    receiver.close();
  });
  const secret = join(dir, 'secret');
  await writeFile(secret, `${SECRET}\n`, { mode: 0o600 });
  env = {
    FAIRLEAD_AUDIT_WEBHOOK: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/in?key=of-the-receiver`,
    FAIRLEAD_AUDIT_WEBHOOK_SECRET_FILE: secret,
    FAIRLEAD_AUDIT_FILE: join(dir, 'audit.ndjson'),
  };
  server = await startServer(cleanup, { env });
});

/** `fairlead audit`, as administrator. */
async function audit(...args: string[]) {
  const credentials = { FAIRLEAD_SERVER: server.runtime.apiUrl, FAIRLEAD_API_TOKEN: server.adminToken };
  const { exit, stdout, stderr } = await runCliHere(['audit', ...args], {
    env: { ...credentials, HOME: dir },
  });
  return { code: exit.code, out: stdout, err: stderr };
}

async function restarted(how: 'stop' | 'kill'): Promise<void> {
  server = await restartServer(cleanup, server, how);
}

/** Stops the server, does something to its store, and starts it again. */
async function tamper(change: (database: Database.Database) => void): Promise<void> {
  await server.process.stop();
  const database = new Database(join(server.dataDir, 'fairlead.db'));
  change(database);
  database.close();
  await restarted('stop');
}

/** Does something to a copy of the store's rows and takes it back at the end. */
async function whileTampered(change: (database: Database.Database) => void, work: () => Promise<void>): Promise<void> {
  await server.process.stop();
  const files = ['fairlead.db', 'audit-head.json'].map((name) => join(server.dataDir, name));
  const kept = await Promise.all(files.map((file) => readFile(file)));
  await tamper(change);
  await work();
  await server.process.stop();
  await Promise.all(files.map((file, index) => writeFile(file, kept[index] ?? '')));
}

test('every row reaches the webhook and the file, in order, across refusals, silence and a kill of the server', async () => {
  const behaviours = [500, 'die', 302, 200] as const;
  let asked = 0;
  answer = () => behaviours[asked++] ?? 200;
  for (let i = 0; i < 20; i++) await newToken(server, { name: `before ${i}` });
  answer = () => 'hang';
  for (let i = 0; i < 20; i++) await newToken(server, { name: `while it hangs ${i}` });
  await server.process.kill();
  answer = () => 200;
  const { stderr } = server.process;
  assert.ok(!stderr.includes('of-the-receiver') && !stderr.includes(SECRET), 'a secret is in the log');
  assert.match(stderr, /could not be forwarded/);
  server = await startServer(cleanup, { dataDir: server.dataDir, env });
  for (let i = 0; i < 5; i++) await newToken(server, { name: `after ${i}` });
  const { items } = (await server.api.get('/api/v1/audit?limit=500')).body as { items: { id: number; hash: string }[] };
  const expected = items.map(({ id, hash }) => `${id} ${hash}`).reverse();
  const unique = (rows: { id: number; hash: string }[]) => [...new Set(rows.map(({ id, hash }) => `${id} ${hash}`))];
  const last = items[0]?.id ?? 0;
  await waitFor('the webhook to have all', () => received.some(({ id }) => id === last), { timeoutMs: 20_000 });
  assert.deepEqual(unique(received).slice(0, expected.length), expected);
  const lines = await waitFor('the file to have all', async () => {
    const found = (await readFile(join(dir, 'audit.ndjson'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    return found.some(({ id }) => id === last) && found;
  });
  assert.deepEqual(unique(lines).slice(0, expected.length), expected);
  const metrics = (await server.api.get('/metrics')).text;
  assert.match(metrics, /fairlead_audit_forward_lag_rows\{receiver="webhook:127\.0\.0\.1:\d+"\} \d+/);
  assert.match(metrics, /fairlead_audit_intact 1/);
  // From here on without receivers.
  await restarted('stop');
});

test('an untouched log passes, online and offline, and says what to keep', async () => {
  const online = await audit('--verify');
  assert.equal(online.code, 0, online.err);
  assert.equal(online.err, '', 'the server reports changes that nobody made');
  assert.match(online.out, /The audit log is whole: \d+ rows, signed up to row \d+/);
  const head = /Head: ([0-9a-f]{64})/.exec(online.out)?.[1] ?? '';
  const [file, caFile] = [join(dir, 'export.ndjson'), join(dir, 'ca.pem')];
  await writeFile(caFile, server.caPem);
  assert.equal((await audit('--export', '--out', file)).code, 0);
  const offline = await audit('--verify', '--file', file, '--ca-file', caFile, '--expect-head', head);
  assert.equal(offline.code, 0, offline.err);
  const verdict = (await server.api.get('/api/v1/audit/verify')).body;
  assert.equal(verdict.ok, true);
  const lines = (await readFile(file, 'utf8')).split('\n');
  await writeFile(file, lines.filter((line) => !line.includes('"id":5,')).join('\n'));
  const cut = await audit('--verify', '--file', file, '--ca-file', caFile);
  assert.equal(cut.code, 1);
  assert.match(cut.err, /row 5 is missing before row 6 \(line \d+\)/);
});

test('a row that was edited in the store is named, by the client and by the server', async () => {
  await whileTampered(
    (database) => database.exec(`update audit set actor = 'nobody' where id = 7`),
    async () => {
      const found = await audit('--verify');
      assert.equal(found.code, 1);
      assert.match(found.err, /tampered with: row 7 does not fit the chain/);
      const verdict = (await server.api.get('/api/v1/audit/verify')).body;
      assert.deepEqual([verdict.ok, verdict.fault.row], [false, 7]);
    },
  );
  await restarted('stop');
});

test('who makes all hashes anew and takes the signatures away is found at the next start', async () => {
  await whileTampered(
    (database) => {
      database.exec(`update audit set detail = '{}' where id = 4`);
      const rows = database.prepare('select * from audit order by id').all() as Parameters<typeof chainHash>[1][];
      let previous = GENESIS_HASH;
      for (const row of rows) {
        previous = chainHash(previous, row);
        database.prepare('update audit set hash = ? where id = ?').run(previous, row.id);
      }
      database.exec('delete from audit_checkpoints');
    },
    async () => {
      assert.match(server.process.stderr, /the audit log is not the one that was signed/);
      const found = await audit('--verify');
      // The server says it in a row that it has signed: whoever looks finds it there.
      assert.match(found.err, /row \d+ says that the server found its log changed/);
      const rows = await audit('--action', 'audit.broken');
      assert.match(rows.out, /the log was rewritten/);
    },
  );
  await restarted('stop');
});

test('a log whose end was cut off, or that was set back to an older copy, is found', async () => {
  const head = /Head: ([0-9a-f]{64})/.exec((await audit('--verify')).out)?.[1] ?? '';
  await whileTampered(
    (database) => {
      const { last } = database.prepare('select max(id) as last from audit').get() as { last: number };
      database.prepare('delete from audit where id > ?').run(last - 3);
      database.prepare('delete from audit_checkpoints where row_id > ?').run(last - 3);
    },
    async () => {
      assert.match((await audit('--action', 'audit.broken')).out, /was signed and is missing/);
      const found = await audit('--verify', '--expect-head', head);
      assert.equal(found.code, 1);
      assert.match(found.err, /rewound or replaced/);
    },
  );
  await restarted('stop');
  assert.equal((await audit('--verify', '--expect-head', head)).code, 0);
});
