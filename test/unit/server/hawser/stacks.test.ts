/** Stacks on hosts of Hawser: checked before anything is sent, by one request for each run of Compose, and never ended falsely. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { FairleadError } from '../../../../shared/errors.ts';
import { COMPOSE_PATH } from '../../../../shared/hawser/compose.ts';
import * as kinds from '../../../../shared/messages/stack.ts';
import type { FakeSocket, Message } from './fake-socket.ts';
import { logFrame, type Said, type ScriptedOptions, say, scriptedHost } from './scripted-agent.ts';

const DONE = { body: { success: true, output: '', exitCode: 0 } };
const COMPOSE = `services:\n  web:\n    image: busybox:\${TAG:-local}\n    environment: { PASSWORD: "\${PASSWORD}" }\n`;
const SECRET = 'hunter-two-2';
const CONTENT = { compose: COMPOSE, env: { PASSWORD: SECRET } };

/** A host on which Compose does what `compose` says; there are no containers, and the image is there. */
function host(
  t: TestContext,
  compose: (body: Message, socket: FakeSocket, requestId: string) => Said,
  options: Partial<ScriptedOptions> = {},
) {
  return scriptedHost(t, {
    answer: (request, query, socket) => {
      if (request.path === COMPOSE_PATH) return compose(request.body, socket, request.requestId);
      return options.answer?.(request, query, socket) ?? { body: request.path === '/containers/json' ? [] : {} };
    },
    ...(options.version === undefined ? {} : { version: options.version }),
    ...(options.capabilities === undefined ? {} : { capabilities: options.capabilities }),
  });
}

const change = { stack: 'shop', changeId: 'c-1' };

async function all(items: AsyncIterable<kinds.StackProgress>): Promise<string[]> {
  const lines: string[] = [];
  for await (const { step, line } of items) lines.push(`${step}: ${line}`);
  return lines;
}

test('a deployment is one request, with the file as text, its variables, and nothing that an old agent would not know', async (t) => {
  const { link, requests, lines } = host(t, () => ({
    body: { success: true, output: `PASSWORD=${SECRET}\n`, exitCode: 0 },
  }));
  const stream = await link.open(kinds.stackDeploy, { ...change, ...CONTENT });
  assert.equal(stream.reply.compose, 'by Hawser 0.2.14');
  assert.deepEqual(await all(stream.items()), ['up: PASSWORD=[redacted]']);
  await stream.trailer;
  assert.equal(await stream.closed, undefined);
  const [request, ...others] = requests.filter(({ path }) => path === COMPOSE_PATH);
  assert.deepEqual(others, []);
  assert.equal(request.streaming, false);
  const { envVars, ...body } = request.body;
  assert.deepEqual(body, { operation: 'up', projectName: 'shop', composeFile: COMPOSE });
  assert.equal(envVars.PASSWORD, SECRET);
  assert.equal(envVars.COMPOSE_DISABLE_ENV_FILE, '1');
  assert.ok(!lines.join().includes(SECRET));
  const status = await link.open(kinds.stackStatus, { stack: 'shop' });
  assert.deepEqual(status.reply.change, { id: 'c-1', kind: 'stack.deploy', state: 'done' });
});

test('what is refused elsewhere is refused here, before anything is sent', async (t) => {
  const { link, requests } = host(t, () => DONE);
  const deploy = (compose: string, env = {}) => link.open(kinds.stackDeploy, { ...change, compose, env });
  await assert.rejects(deploy('services: ['), { code: 'VALIDATION' });
  await assert.rejects(deploy('services:\n  a: {build: .}\n'), { code: 'VALIDATION', message: /line 2.*build/ });
  await assert.rejects(deploy(COMPOSE, { PATH: '/x' }), { code: 'VALIDATION', message: /PATH/ });
  const scale = { ...change, ...CONTENT, services: { db: 2 } };
  await assert.rejects(link.open(kinds.stackScale, scale), {
    code: 'VALIDATION',
    message: /no service db; it has web/,
  });
  assert.deepEqual(requests, []);
});

test('an agent without Compose says which capability it lacks, and is looked at all the same', async (t) => {
  const { link, requests } = host(t, () => DONE, { capabilities: ['exec'] });
  await assert.rejects(link.open(kinds.stackStop, change), {
    code: 'UNSUPPORTED',
    message: /capability compose; install/,
  });
  assert.deepEqual(requests, []);
  assert.equal((await link.open(kinds.stackList, {})).reply.count, 0);
  const { capabilities } = link.describe();
  assert.deepEqual([capabilities.includes('stack.logs'), capabilities.includes('stack.deploy')], [true, false]);
});

test('what an agent removes with each deployment, somebody must have asked for', async (t) => {
  const Labels = { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'old' };
  const { link, requests } = host(t, () => DONE, {
    answer: ({ path }) => ({ body: path === '/containers/json' ? [{ Id: 'x', Names: ['/shop-old-1'], Labels }] : {} }),
  });
  await assert.rejects(link.open(kinds.stackDeploy, { ...change, ...CONTENT }), {
    code: 'CONFLICT',
    message: /\(old\).*prune/,
  });
  assert.ok(requests.every(({ path }) => path !== COMPOSE_PATH));
  const pruned = await link.open(kinds.stackDeploy, { ...change, ...CONTENT, prune: true });
  await pruned.trailer;
});

test('each recorded answer of a real agent means what it says', async (t) => {
  const recorded = (file: string) =>
    readFileSync(new URL(`../../../data/hawser/${file}`, import.meta.url), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).msg)
      .filter(({ type, body }) => type === 'response' && body?.startsWith('{"success":false'))
      .map(({ statusCode: status, body }) => ({ status, body }));
  const outcome = async (said: Said) => {
    const { link } = host(t, () => said);
    const stream = await link.open(kinds.stackStop, change);
    const error = await stream.trailer.then(
      () => assert.fail('it did not fail'),
      (thrown: FairleadError) => thrown,
    );
    const { reply } = await link.open(kinds.stackStatus, { stack: 'shop' });
    return { code: error.code, message: error.message, known: reply.change?.code };
  };
  const [killed] = recorded('04-compose-timeout.0.2.14.jsonl');
  const cut = await outcome(killed);
  assert.deepEqual([cut.code, cut.known], ['STREAM_INTERRUPTED', undefined]);
  assert.match(cut.message, /half changed.*once more is safe.*REQUEST_TIMEOUT.*30 s/);
  const [missing] = recorded('04-compose-missing.0.2.14.jsonl');
  assert.match((await outcome(missing)).message, /no Docker Compose on it; install it/);
  const [invalid] = recorded('04-compose-v2.0.2.14.jsonl');
  const refused = await outcome(invalid);
  assert.deepEqual([refused.code, refused.known], ['DOCKER_ERROR', 'DOCKER_ERROR']);
  assert.match(refused.message, /compose stop failed: yaml: line 1/);
  assert.equal((await outcome({ status: 404, body: { message: 'page not found' } })).code, 'UNSUPPORTED');
  assert.equal((await outcome({ body: 'nonsense' })).code, 'DOCKER_ERROR');
});

test('images are pulled by Docker, which has no end of time for it; what it cannot pull is left to Compose', async (t) => {
  const pull = { status: 'Pulling', id: 'abc' };
  const { link, requests } = host(t, () => DONE, {
    answer: ({ path }) => {
      if (path.startsWith('/images/create'))
        return { bytes: [`${JSON.stringify(pull)}\r\n`, '{"status":"x","progress":"[=>"}\r\n'] };
      if (path.startsWith('/images/')) return { status: 404, body: { message: 'No such image' } };
      return { body: [] };
    },
  });
  const stream = await link.open(kinds.stackDeploy, { ...change, ...CONTENT });
  assert.deepEqual(await all(stream.items()), ['pull: busybox:local: abc: Pulling']);
  assert.deepEqual(
    requests.map(({ path }) => path),
    ['/containers/json', '/images/busybox%3Alocal/json', '/images/create', COMPOSE_PATH],
  );

  const refused = host(t, ({ operation }) => ({ body: { success: true, output: `${operation}ing`, exitCode: 0 } }), {
    answer: ({ path }) =>
      path.startsWith('/images/create') ? { bytes: ['{"error":"denied: log in"}'] } : { body: [] },
  });
  const pulled = await refused.link.open(kinds.stackPull, { ...change, ...CONTENT });
  assert.deepEqual(await all(pulled.items()), [
    'pull: busybox:local: not pulled, which is left to Compose: denied: log in',
    'pull: pulling',
  ]);
});

test('a newer agent is asked to tell what Compose says as it says it', async (t) => {
  const { link, requests } = host(
    t,
    (_body, socket, requestId) => {
      const data = (text: string) => Buffer.from(text).toString('base64');
      for (const line of [' Container web  Starting', ' Container web  Started']) {
        socket.say({ type: 'stream', requestId, data: data(line) });
      }
      return { body: { success: true, output: 'all of it once more', exitCode: 0 } };
    },
    { version: '0.2.51' },
  );
  const stream = await link.open(kinds.stackStart, change);
  assert.deepEqual(await all(stream.items()), ['start: Container web  Starting', 'start: Container web  Started']);
  assert.equal(requests[0].body.streamOutput, true);
});

test('a caller that leaves, or waits no longer, does not end what has begun; nobody else may change the stack meanwhile', async (t) => {
  let ask: { socket: FakeSocket; id: string } | undefined;
  const { link, clock } = host(t, (_body, socket, id) => {
    ask = { socket, id };
    return undefined;
  });
  const stream = await link.open(kinds.stackRestart, { ...change, timeoutSeconds: 60 });
  await turn();
  assert.equal((await link.open(kinds.stackStatus, { stack: 'shop' })).reply.change?.state, 'running');
  await assert.rejects(link.open(kinds.stackStop, change), {
    code: 'CONFLICT',
    message: /stack\.restart.*in progress/,
  });
  clock.advance(60_000);
  await assert.rejects(stream.trailer, { code: 'STREAM_INTERRUPTED', message: /within 60 s.*status of the stack/ });
  await assert.rejects(all(stream.items()), { code: 'STREAM_INTERRUPTED' });
  say(ask?.socket as FakeSocket, ask?.id ?? '', DONE);
  await turn();
  assert.equal((await link.open(kinds.stackStatus, { stack: 'shop' })).reply.change?.state, 'done');

  const leaving = new AbortController();
  const left = await link.open(kinds.stackStop, change, { signal: leaving.signal });
  await turn();
  leaving.abort(new FairleadError('CANCELLED', 'the client went away'));
  await assert.rejects(left.trailer, { code: 'STREAM_INTERRUPTED', message: /the client went away/ });
});

test('a caller that leaves while images are pulled ends that, and Compose is not asked', async (t) => {
  const held = scriptedHost(t, {
    answer: ({ path }) => {
      if (path === '/images/create') return undefined;
      return path === '/containers/json' ? { body: [] } : { status: 404, body: {} };
    },
  });
  const leaving = new AbortController();
  const stream = await held.link.open(kinds.stackDeploy, { ...change, ...CONTENT }, { signal: leaving.signal });
  await turn();
  leaving.abort(new FairleadError('CANCELLED', 'the client went away'));
  await assert.rejects(stream.trailer, { code: 'CANCELLED' });
  await turn();
  assert.ok(held.requests.every(({ path }) => path !== COMPOSE_PATH));
  assert.equal(held.socket.ofType('stream_end').length, 1);
});

test('services are scaled in the file, which has both places of it', async (t) => {
  const compose =
    'services:\n  web:\n    image: a:1 # the shop\n    deploy:\n      replicas: 1\n  db:\n    image: b:1\n';
  const { link, requests } = host(t, () => DONE);
  const stream = await link.open(kinds.stackScale, { ...change, compose, services: { web: 3, db: 0 } });
  await stream.trailer;
  const { composeFile, services } = requests.at(-1).body;
  assert.deepEqual(services, ['web', 'db']);
  assert.equal(
    composeFile,
    'services:\n  web:\n    image: a:1 # the shop\n    deploy:\n      replicas: 3\n    scale: 3\n  db:\n    image: b:1\n    scale: 0\n',
  );
});

test('volumes go with their stack by their labels', async (t) => {
  const { link, requests } = host(t, () => DONE, {
    answer: ({ path, method }) => {
      if (path === '/volumes') return { body: { Volumes: [{ Name: 'shop_data' }, { Name: 'shop_used' }] } };
      return method === 'DELETE' && path.endsWith('used')
        ? { status: 409, body: { message: 'volume is in use' } }
        : { status: 204 };
    },
  });
  const stream = await link.open(kinds.stackRemove, { ...change, volumes: true });
  await assert.rejects(stream.trailer, { code: 'DOCKER_ERROR', message: /shop_used is not removed.*in use/ });
  assert.deepEqual(
    requests.map(({ path }) => path),
    ['/volumes', COMPOSE_PATH, '/volumes/shop_data', '/volumes/shop_used'],
  );
});

test('logs of all services come as one, by their times', async (t) => {
  const container = (name: string) => ({
    ...{ Id: name, Names: [`/shop-${name}-1`], State: 'running' },
    Labels: { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': name },
  });
  const said: Record<string, number[]> = { web: [1, 3], db: [2, 4] };
  const { link } = host(t, () => DONE, {
    answer: ({ path }) => {
      const [, , id = ''] = path.split('/');
      if (path === '/containers/json') return { body: ['web', 'db'].map(container) };
      if (path.endsWith('/json')) return { body: { Config: { Tty: false } } };
      return { bytes: (said[id] ?? []).map((n) => logFrame(`2026-01-01T00:00:0${n}.000000000Z ${id} ${n}\n`)) };
    },
  });
  const listed: unknown[] = [];
  for await (const one of (await link.open(kinds.stackList, {})).items()) listed.push(one);
  assert.deepEqual(listed, [{ stack: 'shop', services: ['db', 'web'], containers: 2, running: 2 }]);
  const logs = await link.open(kinds.stackLogs, { stack: 'shop' });
  assert.ok(Date.parse(logs.reply.openedAt) > 0);
  const lines: string[] = [];
  for await (const batch of logs.items()) lines.push(...batch.map(({ line }) => line));
  assert.deepEqual(lines, ['web 1', 'db 2', 'web 3', 'db 4']);
  assert.equal(await logs.closed, undefined);
});
