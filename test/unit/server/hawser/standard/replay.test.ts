/** What a real agent in Standard mode (0.2.14, before Docker 20.10) has answered, byte for byte as it was recorded. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { before, type TestContext, test } from 'node:test';
import { Connections } from '../../../../../server/hawser/standard/connections.ts';
import { connectionOf } from '../../../../../server/hawser/standard/handed-over.ts';
import { StandardTransport } from '../../../../../server/hawser/standard/standard-transport.ts';
import { systemClock as clock } from '../../../../../shared/clock.ts';
import type { RawRequest } from '../../../../../shared/docker/raw-exchange.ts';
import { defer } from '../../../../support/tmp.ts';
import { within } from '../../../../support/wait.ts';

const RECORDING = new URL('../../../../data/hawser/10-standard.0.2.14.jsonl', import.meta.url);
/** By the name of the step: what came from the agent. */
const answers = new Map<string, string>();

before(async () => {
  for (const line of (await readFile(RECORDING, 'utf8')).trim().split('\n')) {
    const { step, out } = JSON.parse(line) as { step: string; out: string };
    answers.set(step, restored(out));
  }
});

/** The recorder took off the line break at the end of each. */
function restored(out: string): string {
  const [head = '', body] = out.split('\r\n\r\n');
  if (body === undefined) return `${out}\n`;
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN);
  return length === Buffer.byteLength(body) + 1 ? `${out}\n` : out;
}

/** A client of an agent that answers as it did in that step. */
async function dialled(t: TestContext, step: string, end: 'stays' | 'closes' = 'stays') {
  const answer = answers.get(step) ?? '';
  assert.match(answer, /^HTTP\/1/, step);
  const heads: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', (head) => {
      heads.push(head.toString('latin1'));
      socket.write(answer, () => end === 'closes' && socket.end());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const connections = new Connections({ address: { url, token: 'std-token' }, clock });
  const transport = new StandardTransport({ connections, clock });
  defer(t, async () => {
    transport.close('SHUTDOWN', 'the test is over');
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { transport, heads };
}

const START: RawRequest = {
  ...{ method: 'POST', target: '/exec/0000/start', headers: [['Content-Type', 'application/json']] },
  ...{ body: 2, protocol: 'tcp' },
};

test('answers of the agent and of Docker come as they were', async (t) => {
  const steps: [step: string, method: string, status: number, body: RegExp][] = [
    ['health without token', 'GET', 200, /^\{"status":"healthy"\}$/],
    ['info with token', 'GET', 200, /"hawserVersion":"0\.2\.14","mode":"standard"/],
    ['HEAD /_ping', 'HEAD', 200, /^$/],
    ['websocket upgrade on /api/hawser/connect (404 from docker)', 'GET', 404, /page not found/],
    ['compose GET', 'GET', 405, /Method not allowed/],
    ['compose POST (not installed)', 'POST', 500, /not installed/],
    ['compose bad json', 'POST', 400, /unexpected EOF/],
  ];
  for (const [step, method, status, body] of steps) {
    const { transport, heads } = await dialled(t, step);
    const answer = await transport.ask({ method, path: '/asked' });
    assert.equal(answer.status, status, step);
    assert.match(answer.body.toString(), body, step);
    assert.match(heads[0] ?? '', /\r\nX-Hawser-Token: std-token\r\n/);
    if (step === 'HEAD /_ping') assert.equal(answer.headers['Api-Version'], '1.41');
  }
});

test('a token that is refused is no answer', async (t) => {
  for (const step of ['info without token', 'info with bad token', 'Authorization: Bearer (not accepted)']) {
    const { transport } = await dialled(t, step);
    await assert.rejects(transport.ask({ method: 'GET', path: '/info' }), { code: 'HOST_OFFLINE', message: /token/ });
  }
});

test('an exec hands over its connection, with all that comes right behind the head', async (t) => {
  const { transport, heads } = await dialled(t, 'raw exec start with Connection: Upgrade', 'closes');
  const begun = transport.begin(START);
  begun.body.end('{}');
  const { source } = await connectionOf(transport, begun, await transport.head(begun));
  assert.match((await buffer(source)).toString(), /RAW-42\r\n/);
  // In this spelling alone the agent takes it.
  assert.match(heads[0] ?? '', /\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n/);
});

test('an exec that there is not is refused at once, although the connection stays and nothing says how long it is', async (t) => {
  const { transport } = await dialled(t, 'raw exec start of an unknown exec id with Upgrade');
  const begun = transport.begin(START);
  begun.body.end('{}');
  const answer = await transport.head(begun);
  const refused = connectionOf(transport, begun, answer);
  await assert.rejects(within(900, 'the refusal', refused), {
    code: 'NOT_FOUND',
    message: 'No such exec instance: 0000',
  });
});

test('plain HTTP to a port of TLS says so', async (t) => {
  const { transport } = await dialled(t, 'plain http to the TLS port', 'closes');
  const answer = await transport.ask({ method: 'GET', path: '/_ping' });
  assert.deepEqual([answer.status, answer.body.toString()], [400, 'Client sent an HTTP request to an HTTPS server.']);
});
