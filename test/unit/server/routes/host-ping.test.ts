/** Pings and throughput tests by the API: their records, their limits, their roles, and how they end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { waitFor } from '../../../support/wait.ts';
import type { Asked } from './fake-host.ts';
import { as, ask, type Fixture, fixture, listen } from './fakes.ts';

const FAST = { count: 3, intervalMs: 200, timeoutMs: 100 };

async function ping({ api }: Pick<Fixture, 'api'>, payload: object = FAST, host = 'edge-1') {
  const url = `/api/v1/hosts/${host}/ping`;
  const answer = await ask(api, { method: 'POST', url, headers: as('viewer'), payload });
  return { answer, records: answer.statusCode === 200 ? recordsOf(answer.body) : [] };
}

async function throughput(
  { api }: Pick<Fixture, 'api'>,
  payload: object = {},
  role: 'viewer' | 'operator' = 'operator',
) {
  const url = '/api/v1/hosts/edge-1/throughput';
  const answer = await ask(api, { method: 'POST', url, headers: as(role), payload });
  return { answer, records: answer.statusCode === 200 ? recordsOf(answer.body) : [] };
}

interface Found {
  [name: string]: unknown;
  error?: { code: string };
  loaded?: { maxMs: number | null };
}

function recordsOf(body: string): Found[] {
  return body
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** A host that counts what comes and sends what it was asked for. */
function tested({ params, stream }: Asked): object {
  let received = 0;
  stream.input.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  stream.input.on('end', () => {
    stream.trailer.resolve({ receivedBytes: received, countedBytes: received, countedMs: 1000 });
    stream.output.end(Buffer.alloc(Number(params['sendBytes'])));
  });
  return {};
}

test('each ping is a record, a lost one too, and the last is the summary', async (t) => {
  const made = await fixture();
  t.after(() => made.api.close());
  made.host.pings = [41.234567, new FairleadError('TIMEOUT', 'no pong'), 43];
  const { answer, records } = await ping(made);
  assert.equal(answer.headers['content-type'], 'application/x-ndjson');
  assert.deepEqual(records, [
    { type: 'ping', seq: 1, roundTripMs: 41.23 },
    { type: 'ping', seq: 2, roundTripMs: null },
    { type: 'ping', seq: 3, roundTripMs: 43 },
    { type: 'summary', sent: 3, received: 2, minMs: 41.23, avgMs: 42.12, p99Ms: 43, maxMs: 43 },
  ]);
  assert.deepEqual(
    made.audit.filter(({ action }) => action !== 'login'),
    [],
    'looking changes nothing',
  );
});

test('a ping that cannot be sent is a problem before the first record, and an error record after it', async (t) => {
  const made = await fixture();
  t.after(() => made.api.close());
  const unsupported = await ping(made);
  assert.deepEqual([unsupported.answer.statusCode, unsupported.answer.json().code], [501, 'UNSUPPORTED']);
  const nowhere = await ping(made, FAST, 'nowhere');
  assert.deepEqual([nowhere.answer.statusCode, nowhere.answer.json().code], [404, 'HOST_NOT_FOUND']);
  made.host.pings = [1, new FairleadError('STREAM_INTERRUPTED', 'the session ended')];
  const url = await listen(made);
  const request = http.request(`${url}/api/v1/hosts/edge-1/ping`, {
    ...{ method: 'POST', agent: false },
    headers: { ...as('viewer'), 'content-type': 'application/json' },
  });
  request.end(JSON.stringify(FAST));
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let text = '';
  response.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  await once(response, 'error');
  assert.equal(recordsOf(text).at(-1)?.error?.code, 'STREAM_INTERRUPTED');
});

test('no more, no faster and no longer than the limits', async (t) => {
  const made = await fixture();
  t.after(() => made.api.close());
  for (const body of [
    { count: 0 },
    { count: 11, intervalMs: 60_000 },
    { count: 1001 },
    { intervalMs: 199 },
    { timeoutMs: 1e6 },
    { more: 1 },
  ]) {
    assert.equal((await ping(made, body)).answer.statusCode, 400, JSON.stringify(body));
  }
  for (const body of [{ ms: 2001 }, { maxBytes: 2 ** 30 }, { direction: 'up' }]) {
    assert.equal((await throughput(made, body)).answer.statusCode, 400, JSON.stringify(body));
  }
  assert.deepEqual(made.host.asked, []);
});

test('one host is pinged by a few clients at a time; one that leaves makes room', async (t) => {
  const made = await fixture();
  t.after(() => made.api.close());
  made.host.pings = [1];
  const url = await listen(made);
  const clients: http.ClientRequest[] = [];
  for (let i = 0; i < 4; i++) {
    const client = http.request(`${url}/api/v1/hosts/edge-1/ping`, {
      ...{ method: 'POST', agent: false },
      headers: { ...as('viewer'), 'content-type': 'application/json' },
    });
    client.on('error', () => undefined).end(JSON.stringify({ count: 10, intervalMs: 60_000 }));
    await once(client, 'response');
    clients.push(client);
  }
  const fifth = await ping(made);
  assert.deepEqual([fifth.answer.statusCode, fifth.answer.json().code], [503, 'OVERLOADED']);
  clients[0]?.destroy();
  await waitFor('room', async () => (await ping(made, { count: 1 })).answer.statusCode === 200, { timeoutMs: 1_000 });
  for (const client of clients) client.destroy();
});

test('throughput is measured to the host and from it, one after the other, and audited', async (t) => {
  const made = await fixture({ answers: { 'host.throughput': tested } });
  t.after(() => made.api.close());
  made.host.pings = [5];
  const { records } = await throughput(made, { ms: 200, maxBytes: 100_000 });
  const [to, from] = records;
  assert.equal(records.length, 2);
  assert.deepEqual([to?.['direction'], to?.['bytes'], to?.['bytesPerSecond']], ['to-host', 100_000, 100_000]);
  assert.deepEqual([from?.['direction'], from?.['bytes']], ['from-host', 100_000]);
  assert.equal(to?.loaded?.maxMs, 5);
  assert.deepEqual(
    made.host.asked.map(({ params }) => params),
    [
      { sendBytes: 0, ms: 200 },
      { sendBytes: 100_000, ms: 200 },
    ],
  );
  const row = made.audit.find(({ action }) => action === 'host.throughput');
  assert.deepEqual([row?.actor, row?.target, row?.result], ['the-operator', 'edge-1', 'ok']);
  const one = await throughput(made, { direction: 'from-host', maxBytes: 1000 });
  assert.deepEqual(
    one.records.map(({ direction }) => direction),
    ['from-host'],
  );
});

test('throughput needs the role operator, a host that serves it, and its turn', async (t) => {
  const made = await fixture();
  t.after(() => made.api.close());
  const viewer = await throughput(made, {}, 'viewer');
  assert.deepEqual([viewer.answer.statusCode, viewer.answer.json().code], [403, 'FORBIDDEN']);
  const older = await throughput(made);
  assert.deepEqual([older.answer.statusCode, older.answer.json().code], [501, 'UNSUPPORTED']);
  assert.equal(made.audit.find(({ action }) => action === 'host.throughput')?.result, 'failed');
  made.host.answers['host.throughput'] = () => {
    throw new FairleadError('DENIED_BY_HOST', 'the policy does not allow it');
  };
  assert.equal((await throughput(made)).answer.json().code, 'DENIED_BY_HOST');
  const asked = Promise.withResolvers<Asked>();
  made.host.answers['host.throughput'] = (one) => {
    asked.resolve(one);
    return {};
  };
  const running = throughput(made, { ms: 100, maxBytes: 1 });
  const { stream } = await asked.promise;
  assert.equal((await throughput(made)).answer.json().code, 'OVERLOADED');
  stream.interrupt(new FairleadError('STREAM_INTERRUPTED', 'lost'));
  assert.equal((await running).answer.json().code, 'STREAM_INTERRUPTED');
  made.host.answers['host.throughput'] = tested;
  made.host.pings = [5];
  assert.equal((await throughput(made, { maxBytes: 1 })).answer.statusCode, 200, 'an ended test makes room');
});
