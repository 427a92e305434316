/** What docker's CLI asks an upgrade for, on hosts whose agent hands no connection over: run to its end, or refused with a way out. */
import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { measureThroughput } from '../../../../server/hosts/throughput.ts';
import { dockerRequest, dockerUpgrade } from '../../../../shared/messages/docker.ts';
import { logFrame, type Said, scriptedHost } from './scripted-agent.ts';

const START = {
  ...{ method: 'POST', target: '/v1.41/exec/e1/start', headers: [], protocol: 'tcp' },
  body: '{"Detach":false,"Tty":false}',
};
const PROCESS = { tty: false, entrypoint: 'ls', arguments: ['-l'] };

test('an exec without input is run to its end, and its output comes as if the connection had been handed over', async (t) => {
  const { link, requests } = scriptedHost(t, {
    answer: ({ path }): Said => {
      if (path.endsWith('/json')) return { body: { OpenStdin: false, ProcessConfig: PROCESS } };
      return path === '/version' ? { body: {} } : { body: logFrame('a file\n').toString('latin1') };
    },
  });
  const { reply, bytes, trailer } = await link.open(dockerUpgrade, START);
  assert.deepEqual([reply.status, reply.upgraded], [101, true]);
  assert.equal((await buffer(bytes)).toString('latin1'), logFrame('a file\n').toString('latin1'));
  assert.deepEqual(await trailer, { headers: [] });
  const [looked, started] = requests;
  assert.equal(looked.path, '/v1.41/exec/e1/json');
  assert.deepEqual(
    [started.path, started.streaming, started.body],
    [START.target, false, { Detach: false, Tty: false }],
  );
});

test('what would need a connection names what is missing, and what to do instead', async (t) => {
  let exec = { OpenStdin: true, ProcessConfig: { ...PROCESS, tty: true } };
  const { link, requests } = scriptedHost(t, { answer: () => ({ body: exec }) });
  const refused = async (params: object, message: RegExp) =>
    await assert.rejects(link.open(dockerUpgrade, { ...START, ...params }), { code: 'UNSUPPORTED', message });
  await refused({}, /docker\.upgrade with input.*without -i it runs/);
  exec = { OpenStdin: true, ProcessConfig: { tty: true, entrypoint: 'sh', arguments: [] } };
  await refused({}, /fairlead exec -it HOST CONTAINER -- sh/);
  assert.ok(requests.every(({ path }) => !path.endsWith('/start')));
  await refused({ target: '/containers/c/attach?stream=1' }, /container\.attach/);
  await refused({ target: '/session' }, /docker\.upgrade of \/session/);
});

test('an exec that is to read is refused when it is made, where every client shows why', async (t) => {
  const { link, requests } = scriptedHost(t, { answer: () => ({ status: 201, body: { Id: 'e1' } }) });
  const make = (body: object) =>
    link.open(
      dockerRequest,
      {
        ...{ method: 'POST', target: '/v1.41/containers/c/exec', headers: [['Content-Type', 'application/json']] },
        body: 'chunked',
      },
      { feed: (sink) => void sink.end(JSON.stringify(body)) },
    );
  await assert.rejects(make({ AttachStdin: true, Tty: true, Cmd: ['sh'] }), {
    code: 'UNSUPPORTED',
    message: /fairlead exec -it HOST CONTAINER -- sh/,
  });
  assert.deepEqual(requests, []);
  assert.equal((await make({ AttachStdout: true, Cmd: ['ls'] })).reply.status, 201);
});

test("Docker's own refusals come as they are, and a command that takes too long is told to go on", async (t) => {
  const gone = scriptedHost(t, { answer: () => ({ status: 404, body: { message: 'No such exec instance: e1' } }) });
  const { reply, bytes } = await gone.link.open(dockerUpgrade, START);
  assert.deepEqual([reply.status, reply.upgraded], [404, false]);
  assert.match((await buffer(bytes)).toString(), /No such exec/);
  const slow = scriptedHost(t, {
    answer: ({ path }) =>
      path.endsWith('/start') ? undefined : { body: { OpenStdin: false, ProcessConfig: PROCESS } },
  });
  const opening = link(slow);
  await new Promise(setImmediate);
  slow.clock.advance(60_000);
  await assert.rejects(opening, { code: 'TIMEOUT', message: /30 s.*goes on there/ });
});

function link(host: ReturnType<typeof scriptedHost>) {
  const opening = host.link.open(dockerUpgrade, START);
  opening.catch(() => undefined);
  return opening;
}

test('throughput is said to be what the protocol has nothing for', async (t) => {
  const host = scriptedHost(t, { answer: () => undefined });
  const plan = { direction: 'to-host' as const, ms: 100, bytes: 1000 };
  const signal = new AbortController().signal;
  await assert.rejects(measureThroughput(host.link, plan, { clock: host.clock, signal }), {
    code: 'UNSUPPORTED',
    message: /Hawser.*host\.throughput.*round trip is all/,
  });
});
