/** The route of backups: who may ask and how, what is written down, and every way in which it ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { SEND_MS } from '../../../../server/routes/limits.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { as, ask, type Fixture, fixture, listen } from './fakes.ts';

const URL_PATH = '/api/v1/backup';
const KEY = Buffer.alloc(32, 7);
const BODY = {
  key: KEY.toString('base64'),
  salt: Buffer.alloc(16, 9).toString('base64'),
  ...{ log2N: 17, r: 8, p: 1 },
};

async function opened(t: TestContext, overrides: Partial<ApiDeps> = {}): Promise<Fixture> {
  const made = await fixture({ overrides });
  t.after(() => made.api.close());
  return made;
}

const post = (made: Fixture, payload: object = BODY, headers: object = as('admin'), remoteAddress = '127.0.0.1') =>
  ask(made.api, { method: 'POST', url: URL_PATH, headers: { ...headers }, payload, remoteAddress });

/** What the fake service makes; chunks that never end unless given. */
function backupOf(chunks: AsyncIterable<Buffer>, bytes = 1 << 30) {
  const released = Promise.withResolvers<void>();
  const manifest = { createdAt: '2026-01-01T00:00:00.000Z', installationId: 'i1' };
  return { released: released.promise, backup: { manifest, bytes, chunks, release: () => released.resolve() } };
}

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(64 * 1024);
}

async function open(url: string): Promise<IncomingMessage> {
  const headers = { ...as('admin'), 'content-type': 'application/json' };
  const request = http.request(`${url}${URL_PATH}`, { method: 'POST', headers, agent: false });
  request.on('error', () => undefined);
  request.end(JSON.stringify(BODY));
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.on('error', () => undefined);
  return response;
}

test('an admin gets the file and its length; it is written down before it leaves', async (t) => {
  const made = await opened(t);
  const answer = await post(made);
  assert.equal(answer.statusCode, 200);
  assert.equal(answer.body, 'sealed');
  assert.equal(answer.headers['content-length'], '6');
  assert.equal(answer.headers['content-type'], 'application/octet-stream');
  const created = made.calls.find(({ name }) => name === 'backups.create');
  const recipe = { log2N: 17, r: 8, p: 1, salt: Buffer.alloc(16, 9) };
  assert.deepEqual(created?.args, [{ recipe, key: KEY }, 'the-admin']);
  assert.ok(made.calls.some(({ name }) => name === 'backup.release'));
  const rows = made.audit.filter(({ action }) => action === 'backup.create');
  assert.equal(rows.length, 1);
  assert.equal(rows[0]?.result, 'ok');
  assert.equal(rows[0]?.detail?.['bytes'], 6);
  const told = JSON.stringify([made.audit, made.log]);
  assert.ok(!told.includes(BODY.key) && !told.includes(BODY.salt), 'the key was logged');
});

test('nobody but an admin, and nothing but a whole recipe within its bounds', async (t) => {
  const made = await opened(t);
  assert.equal((await post(made, BODY, as('operator'))).statusCode, 403);
  assert.equal((await post(made, BODY, {})).statusCode, 401);
  for (const wrong of [{ log2N: 10 }, { log2N: 30 }, { r: 9 }, { p: 0 }, { key: 'short' }, { salt: '' }, { more: 1 }]) {
    const answer = await post(made, { ...BODY, ...wrong });
    assert.equal(answer.json().code, 'VALIDATION', JSON.stringify(wrong));
    assert.ok(!answer.body.includes(BODY.key));
  }
  assert.ok(!made.calls.some(({ name }) => name === 'backups.create'));
});

test('plain HTTP is refused unless it comes from this machine, or from a proxy that is trusted and speaks TLS', async (t) => {
  const made = await opened(t);
  const remote = await post(made, BODY, as('admin'), '192.0.2.7');
  assert.deepEqual([remote.statusCode, remote.json().code], [403, 'FORBIDDEN']);
  assert.match(remote.json().detail, /only made over HTTPS/);
  const claimed = await post(made, BODY, { ...as('admin'), 'x-forwarded-proto': 'https' }, '192.0.2.7');
  assert.equal(claimed.statusCode, 403, 'a header that anybody can send was believed');
  assert.ok(!made.calls.some(({ name }) => name === 'backups.create'));

  const behind = await opened(t, { trustProxy: true });
  const forwarded = { ...as('admin'), 'x-forwarded-for': '192.0.2.7' };
  assert.equal((await post(behind, BODY, { ...forwarded, 'x-forwarded-proto': 'https' })).statusCode, 200);
  assert.equal((await post(behind, BODY, { ...forwarded, 'x-forwarded-proto': 'http' })).statusCode, 403);
  assert.equal((await post(behind, BODY, forwarded)).statusCode, 403);
});

test('what the service refuses is told and written down', async (t) => {
  for (const [code, status] of [
    ['CONFLICT', 409],
    ['STORE_FULL', 507],
  ] as const) {
    const made = await opened(t, {
      backups: { create: async () => Promise.reject(new FairleadError(code, 'the disk, or another backup')) },
    });
    const answer = await post(made);
    assert.deepEqual([answer.statusCode, answer.json().code], [status, code]);
    const [row] = made.audit.filter(({ action }) => action === 'backup.create');
    assert.deepEqual([row?.result, row?.detail], ['failed', { code }]);
  }
});

test('what cannot be written down is not handed out', async (t) => {
  const { backup, released } = backupOf(endless());
  const made = await opened(t, { backups: { create: async () => backup } });
  made.deps.audit.record = async () => Promise.reject(new FairleadError('STORE_FULL', 'the disk is full'));
  const answer = await post(made);
  assert.equal(answer.statusCode, 507);
  await released;
});

test('a client that leaves while it is made, or while it is sent, ends it', async (t) => {
  let asked: AbortSignal | undefined;
  const { backup, released } = backupOf(endless());
  let isSending = false;
  const made = await opened(t, {
    backups: {
      create: async (_key, _by, signal) => {
        asked = signal;
        if (isSending) return backup;
        return await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
    },
  });
  const url = await listen(made);
  const headers = { ...as('admin'), 'content-type': 'application/json' };
  const request = http.request(`${url}${URL_PATH}`, { method: 'POST', headers, agent: false });
  request.on('error', () => undefined);
  request.end(JSON.stringify(BODY));
  await waitFor('the service to be asked', () => asked !== undefined);
  request.destroy();
  await waitFor('the end of the work', () => asked?.aborted);

  isSending = true;
  const response = await open(url);
  await once(response, 'data');
  response.destroy();
  await released;
  const rows = () => made.audit.filter(({ action }) => action === 'backup.create').map(({ result }) => result);
  await waitFor('both failures to be written down', () => rows().length === 3);
  assert.deepEqual(rows(), ['failed', 'ok', 'failed']);
});

test('a client that takes nothing for too long is cut off, and so is one whose token is revoked', async (t) => {
  for (const how of ['stalls', 'is revoked'] as const) {
    const clock = new FakeClock();
    const { backup, released } = backupOf(endless());
    const made = await opened(t, { clock, backups: { create: async () => backup } });
    t.after(() => made.api.server.closeAllConnections());
    const response = await open(await listen(made));
    response.pause();
    // The kernel's buffers are full once the sender waits with its timer set.
    if (how === 'stalls') {
      let passed = 0;
      await waitFor('the stalled client to be cut off', () => {
        clock.advance(SEND_MS);
        passed += 1;
        return Promise.race([released.then(() => true), new Promise<false>((no) => setImmediate(() => no(false)))]);
      });
      assert.ok(passed > 0);
    } else {
      made.revokeToken('id-admin');
    }
    await released;
    response.resume();
    await assert.rejects(text(response), how);
  }
});

test('a backup that breaks off never looks whole', async (t) => {
  async function* broken(): AsyncGenerator<Buffer> {
    yield Buffer.alloc(1000);
    throw new Error('the disk is gone');
  }
  const { backup, released } = backupOf(broken(), 5000);
  const made = await opened(t, { backups: { create: async () => backup } });
  const response = await open(await listen(made));
  await assert.rejects(text(response));
  await released;
  const results = made.audit.filter(({ action }) => action === 'backup.create').map(({ result }) => result);
  assert.deepEqual(results, ['ok', 'failed']);
});
