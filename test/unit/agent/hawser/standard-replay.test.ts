/**
 * What was asked of a real agent in Standard mode (0.2.14, before a Docker Engine 20.10), asked of this one, before a Docker that
 * answers as it did then.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { HawserStandard } from '../../../../agent/hawser/standard.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { defer, tempDir } from '../../../support/tmp.ts';
import { contextAt, TOKEN } from './fixture.ts';

interface Step {
  readonly step: string;
  readonly cmd: string;
  readonly out: string;
}

interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

interface Reply {
  readonly status: number;
  readonly type: string | undefined;
  readonly body: string;
}

const FILE = new URL('../../../data/hawser/10-standard.0.2.14.jsonl', import.meta.url);
const STEPS = readFileSync(FILE, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Step);
const GUESSES = 'failed auth x30: rate limited?';

/** Steps whose requests are not in the record, by how they begin. */
const NOT_REQUESTS = [
  /** The command-line client's: what it printed was recorded, and not what it asked. */
  'docker ',
  'SIGTERM',
  /** Of TLS itself. */
  'TLS',
  'plain http to the TLS port',
  /** Of the command line of Hawser, which is not that of this agent. */
  'CLI: ',
  GUESSES,
];

const DOCKER_JSON = 'application/json';
const REFUSED: Reply = { status: 401, type: 'text/plain; charset=utf-8', body: 'Unauthorized' };

/** Where this agent does otherwise on purpose. */
const BETTER: Record<string, { readonly why: string; readonly docker?: Reply; readonly reply: Reply }> = {
  'token as ?token= query': { why: 'tokens in URLs get into logs', reply: REFUSED },
  'no TOKEN set: open proxy': { why: 'whoever reaches an agent without a token is root of its host', reply: REFUSED },
  'exec start of unknown id without Upgrade (status lost)': {
    why: 'whoever waits is told what Docker says, instead of nothing',
    docker: { status: 404, type: DOCKER_JSON, body: '{"message":"No such exec instance: 0000"}' },
    reply: { status: 404, type: DOCKER_JSON, body: '{"message":"No such exec instance: 0000"}' },
  },
};

const withToken = (recorded: string) => recorded.replaceAll('std-token', TOKEN);

/** What the step asked; of those by bare bytes, what they would have had typed aside. */
function callOf({ cmd }: Step): Call {
  const raw = /printf '(POST .*?)'/.exec(cmd)?.[1];
  if (raw !== undefined) {
    const body = /B='(.*?)'/.exec(cmd)?.[1] ?? '';
    const [first = '', ...lines] = raw.split('\\r\\n');
    const named = lines.filter((line) => /^[\w-]+: /.test(line)).map((line) => line.split(': '));
    const headers = { ...Object.fromEntries(named), 'Content-Length': String(body.length) };
    const path = (first.split(' ')[1] ?? '').replace('%s', '0000');
    return { method: 'POST', path, headers: { ...headers, 'X-Hawser-Token': TOKEN }, body };
  }
  const path = withToken(/http:\/\/127\.0\.0\.1:7811(\S+)$/.exec(cmd)?.[1] ?? assert.fail(cmd));
  const named = [...cmd.matchAll(/-H ([\w-]+): (.*?)(?= -[A-Za-z] | http:)/g)];
  const headers = Object.fromEntries(named.map(([, name, value = '']) => [name, withToken(value)]));
  const body = /-d (.*?) http:/.exec(cmd)?.[1];
  const method = /^curl -sI/.test(cmd) ? 'HEAD' : body === undefined ? 'GET' : 'POST';
  return { method, path, headers, body: body ?? '' };
}

/** What was answered; of some steps no more than the status. */
function replyOf({ step, out }: Step): Reply {
  const status = /^HTTP\/1\.1 (\d+)/.exec(out)?.[1];
  if (status === undefined) return { status: Number(out), type: undefined, body: '' };
  const end = out.indexOf('\r\n\r\n');
  const body = end === -1 ? '' : out.slice(end + 4);
  const type = /^Content-Type: (.*?)\r$/im.exec(out)?.[1];
  // What is long was cut off in the record: of this, in its last member.
  return { status: Number(status), type, body: step === '/version' ? `${body}"}` : body };
}

const ENDED_EXEC = JSON.stringify({ Running: false, ExitCode: 0, Pid: 0, ContainerID: 'c' });

/** A Docker that answers as the step that is replayed has it, and notes what it is asked. */
async function recordedDocker(t: TestContext) {
  const version = replyOf(STEPS.find(({ step }) => step === '/version') ?? assert.fail('no /version'));
  const state = { reply: version, asked: [] as string[] };
  const headersOf = ({ type }: Reply) => (type === undefined ? {} : { 'Content-Type': type });
  const server = createServer((request, response) => {
    request.resume();
    // The agent asks these by itself: who Docker is, and whether an exec that it joined has ended.
    if (/^\/exec\/\w+\/json/.test(request.url ?? '')) {
      response.writeHead(state.reply.status === 101 ? 200 : state.reply.status, { 'Content-Type': DOCKER_JSON });
      return void response.end(state.reply.status === 101 ? ENDED_EXEC : state.reply.body);
    }
    const reply = request.url === '/version' ? version : state.reply;
    state.asked.push(`${request.method} ${request.url}`);
    response.writeHead(reply.status, headersOf(reply)).end(reply.body);
  });
  server.on('upgrade', (request: IncomingMessage, connection: Socket) => {
    state.asked.push(`${request.method} ${request.url}`);
    const { status, type, body } = state.reply;
    const length = status === 101 ? 'Connection: Upgrade\r\nUpgrade: tcp' : `Content-Length: ${body.length}`;
    connection.on('error', () => undefined);
    request.resume();
    connection.end(`HTTP/1.1 ${status} Recorded\r\nContent-Type: ${type}\r\n${length}\r\n\r\n${body}`);
  });
  const socket = join(await tempDir(t, 'docker'), 'docker.sock');
  server.listen(socket);
  await once(server, 'listening');
  defer(t, async () => {
    server.close();
    server.closeAllConnections();
  });
  return { socket, state };
}

async function ask(port: number, { method, path, headers, body }: Call): Promise<Reply> {
  const outgoing = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false });
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const take = (response: IncomingMessage, bytes: Promise<string>) =>
    bytes.then((whole) => {
      resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'], body: whole });
    }, reject);
  outgoing.on('error', reject);
  outgoing.on('response', (response) => void take(response, text(response)));
  outgoing.on('upgrade', (response, socket, head) => {
    socket.unshift(head);
    void take(response, text(socket));
    socket.end();
  });
  outgoing.end(body);
  return await promise;
}

async function opened(t: TestContext) {
  const { socket, state } = await recordedDocker(t);
  const { context, stacks } = await contextAt(t, socket);
  const missing = new FairleadError('UNSUPPORTED', 'this host has no Compose: install it');
  stacks.look = () => Promise.reject(missing);
  const standard = await HawserStandard.open({ host: '127.0.0.1', port: 0, token: TOKEN }, context);
  defer(t, () => standard.close());
  return { port: standard.port, state };
}

/** Of what the agent says by itself: all members, and what does not depend on the host or the words of a parser. */
function assertOwn(made: string, recorded: string): void {
  const [own, wanted] = [JSON.parse(made), JSON.parse(recorded)];
  assert.deepEqual(Object.keys(own).sort(), Object.keys(wanted).sort());
  for (const [name, value] of Object.entries(wanted)) {
    assert.equal(typeof own[name], typeof value, name);
    if (['status', 'success', 'output', 'exitCode', 'dockerVersion', 'mode'].includes(name))
      assert.equal(own[name], value, name);
  }
  if (wanted.error !== undefined) assert.equal(own.error.slice(0, 18), wanted.error.slice(0, 18));
}

const REQUESTS = STEPS.filter(({ step }) => !NOT_REQUESTS.some((start) => step.startsWith(start)));

test('each request of the record is answered as it was then, or better', async (t) => {
  assert.equal(REQUESTS.length, 17);
  for (const step of Object.keys(BETTER))
    assert.ok(
      REQUESTS.some((one) => one.step === step),
      step,
    );
  const { port, state } = await opened(t);
  for (const recorded of REQUESTS) {
    const better = BETTER[recorded.step];
    const name = better === undefined ? recorded.step : `${recorded.step}: not as then, for ${better.why}`;
    await t.test(name, async () => {
      const wanted = better?.reply ?? replyOf(recorded);
      state.reply = better?.docker ?? replyOf(recorded);
      state.asked = [];
      const call = callOf(recorded);
      const made = await ask(port, call);
      assert.equal(made.status, wanted.status);
      if (wanted.type !== undefined) assert.equal(made.type, wanted.type);
      const isOwn = call.path.startsWith('/_hawser/') || wanted.status === 401;
      assert.deepEqual(state.asked, isOwn ? [] : [`${call.method} ${call.path}`]);
      if (isOwn && wanted.type === DOCKER_JSON) assertOwn(made.body, wanted.body);
      else assert.equal(made.body.trimEnd(), wanted.body.trimEnd());
    });
  }
});

test('who guesses as the record did is refused as then, and soon told to wait, so that no token is found', async (t) => {
  const { out } = STEPS.find(({ step }) => step === GUESSES) ?? assert.fail('no such step');
  const then = [...out.matchAll(/\d{3}/g)].map(([status]) => Number(status));
  assert.deepEqual([then.length, new Set(then.slice(0, -1)), then.at(-1)], [31, new Set([401]), 200]);
  const { port } = await opened(t);
  const guess = (token: string) =>
    ask(port, { method: 'GET', path: '/info', headers: { 'X-Hawser-Token': token }, body: '' });
  const made: number[] = [];
  for (let n = 0; n < 30; n++) made.push((await guess(`bad-${n}`)).status);
  assert.deepEqual([...new Set(made)], [401, 429]);
  assert.equal((await guess(TOKEN)).status, 429);
});
