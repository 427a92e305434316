/** Pulls and tars where the Engine does not do what a healthy one does, and callers that leave. */
import assert from 'node:assert/strict';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { buffer, text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { type ErrorCode, isFairleadError } from '../../../../shared/errors.ts';
import { containerArchiveGet } from '../../../../shared/messages/container-streams.ts';
import { imageLoad, imagePull, imageSave } from '../../../../shared/messages/image-streams.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { type Served, serve } from './served.ts';

async function served(t: TestContext, answer: RequestListener): Promise<Served> {
  const docker = await fakeDocker(t, answer);
  return await serve(t, { docker: await engineAt(t, docker.socket), info: { agentVersion: '0' }, log: SILENT });
}

const refusedWith = (code: ErrorCode, what: RegExp) => (error: unknown) =>
  isFairleadError(error, code) && what.test(error.message);
const line = (record: object) => `${JSON.stringify(record)}\r\n`;

/** What a pull says until it ends. */
async function pulled(host: Served, reference = 'a/b', auth?: string): Promise<object[]> {
  const { stream } = host.open(imagePull, { reference, ...(auth === undefined ? {} : { auth }) });
  const records: object[] = [];
  for await (const record of stream.items()) records.push(record);
  return records;
}

test('a pull asks for one image, with its credentials in a header, and passes on what Docker says', async (t) => {
  const asked: IncomingMessage[] = [];
  const host = await served(t, (request, response) => {
    asked.push(request);
    response.write(line({ status: 'Pulling', id: '1' }));
    response.end(line({ status: 'Status: Downloaded' }));
  });
  assert.deepEqual(await pulled(host, 'r:5000/a/b', 'c2VjcmV0'), [
    { status: 'Pulling', id: '1' },
    { status: 'Status: Downloaded' },
  ]);
  await pulled(host, 'a/b:1');
  await pulled(host, `a@sha256:${'0'.repeat(64)}`);
  const queries = asked.map(({ url = '' }) => Object.fromEntries(new URL(url, 'http://x').searchParams));
  assert.deepEqual(queries, [
    { fromImage: 'r:5000/a/b', tag: 'latest' },
    { fromImage: 'a/b:1' },
    { fromImage: `a@sha256:${'0'.repeat(64)}` },
  ]);
  assert.deepEqual(
    asked.map(({ headers }) => headers['x-registry-auth']),
    ['c2VjcmV0', undefined, undefined],
  );
});

const FAILED: [what: string, answer: (response: ServerResponse) => void, code: ErrorCode, text: RegExp][] = [
  ['at once, inside of a 200', (it) => it.end(line({ error: 'toomanyrequests' })), 'DOCKER_ERROR', /toomanyrequests/],
  [
    'behind its first words',
    (it) => it.end(line({ status: 'x' }) + line({ errorDetail: { message: 'no space' }, error: 'no space' })),
    ...(['DOCKER_ERROR', /^no space$/] as const),
  ],
  ['with no more than a detail', (it) => it.end(line({ errorDetail: { code: 1 } })), 'DOCKER_ERROR', /"code":1/],
  ['of what is not there', (it) => it.end(line({ error: 'manifest unknown' })), 'NOT_FOUND', /manifest unknown/],
  ['with a status', (it) => it.writeHead(500).end('{"message":"no registry"}'), 'DOCKER_ERROR', /^no registry$/],
  ['with what is no JSON', (it) => it.end('<html>'), 'DOCKER_ERROR', /not JSON/],
  ['with a line without end', (it) => it.end('x'.repeat(100_000)), 'DOCKER_ERROR', /larger than/],
  [
    'by breaking off',
    (it) => void it.write(line({ status: 'x' }), () => it.destroy()),
    ...(['DOCKER_UNREACHABLE', /broke off/] as const),
  ],
];

for (const [what, answer, code, said] of FAILED) {
  test(`a pull that fails ${what} is an error, and never an end`, async (t) => {
    const host = await served(t, (_request, response) => answer(response));
    await assert.rejects(pulled(host), refusedWith(code, said));
  });
}

test('whoever leaves a pull, or a tar, ends it at Docker within a second', async (t) => {
  let open = 0;
  const host = await served(t, (_request, response) => {
    open += 1;
    response.once('close', () => {
      open -= 1;
    });
    response.write(line({ status: 'Pulling' }));
  });
  const pull = host.open(imagePull, { reference: 'a' });
  const save = host.open(imageSave, { references: ['a', 'b'] });
  const silent = host.open(containerArchiveGet, { id: 'c', path: '/' });
  await Promise.all([pull.stream.reply, save.stream.reply, silent.stream.reply]);
  assert.equal(open, 3);
  for (const each of [pull, save, silent]) each.leave();
  await waitFor('their end', () => open === 0, { timeoutMs: 1_000 });
  for (const { done } of [pull, save, silent]) await assert.rejects(done);
});

test('a tar that Docker ends too early is an error', async (t) => {
  const host = await served(t, (_request, response) => response.end(Buffer.alloc(700)));
  for (const opened of [
    host.open(imageSave, { references: ['a'] }),
    host.open(containerArchiveGet, { id: 'c', path: '/x' }),
  ]) {
    await assert.rejects(text(opened.stream.bytes), refusedWith('DOCKER_ERROR', /broke the archive off/));
  }
});

test('several images are asked for by their names; what is at a path is told without it', async (t) => {
  const asked: string[] = [];
  const host = await served(t, ({ url = '' }, response) => {
    asked.push(url);
    response.setHeader('X-Docker-Container-Path-Stat', 'eyJuYW1lIjoieCJ9').end(Buffer.alloc(1024));
  });
  const save = host.open(imageSave, { references: ['a/b:1', 'c'] });
  assert.equal((await buffer(save.stream.bytes)).length, 1024);
  const stat = host.open(containerArchiveGet, { id: 'c', path: '/a b&c', statOnly: true });
  assert.deepEqual(await stat.stream.reply, { stat: 'eyJuYW1lIjoieCJ9' });
  assert.equal((await buffer(stat.stream.bytes)).length, 0);
  assert.deepEqual(asked, ['/images/get?names=a%2Fb%3A1&names=c', '/containers/c/archive?path=%2Fa+b%26c']);
});

test('a load says what it loaded; one that fails inside of a 200, or finds nothing, is an error', async (t) => {
  let words = line({ stream: 'Loaded image: a:1\n' });
  const host = await served(t, (request, response) => {
    request.resume().once('end', () => response.end(words));
  });
  const load = async () => {
    const { stream } = host.open(imageLoad, {});
    stream.bytes.end('a tar');
    return await within(5_000, 'the reply', stream.reply);
  };
  assert.deepEqual(await load(), { loaded: ['Loaded image: a:1'] });
  words = line({ stream: 'x' }) + line({ error: 'unexpected EOF' });
  await assert.rejects(load(), refusedWith('DOCKER_ERROR', /unexpected EOF/));
  words = '';
  await assert.rejects(load(), refusedWith('VALIDATION', /no image in the tar/));
});
