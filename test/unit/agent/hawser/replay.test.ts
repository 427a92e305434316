/**
 * Sessions of real agents, replayed from the other end: what their servers asked is asked of this agent, before a Docker that
 * answers as it did then, and what this agent says to it is what they said.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { HawserEdge } from '../../../../agent/hawser/edge.ts';
import { WELCOME_MS } from '../../../../agent/hawser/limits.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { COMPOSE_PATH } from '../../../../shared/hawser/compose.ts';
import { DockhandServer } from '../../../support/dockhand-server.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { defer } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import type { Message } from '../../server/hawser/fake-socket.ts';
import { openedEdge } from './edge-fixture.ts';
import { fixture, TOKEN } from './fixture.ts';

const DIR = new URL('../../../data/hawser/', import.meta.url);
const FILES = readdirSync(DIR).filter((file) => /^0[1-57].*\.jsonl$/.test(file));

/** The Docker of the tests answers this itself. */
const VERSION = '/version';

interface Line {
  readonly from: 'agent' | 'server';
  readonly msg: Message;
}

const idOf = ({ requestId, execId }: Message): string => requestId ?? execId;

/** One record, by what belongs together. */
class Session {
  readonly lines: readonly Line[];

  constructor(file: string) {
    const content = readFileSync(new URL(file, DIR), 'utf8').trim();
    this.lines = content.split('\n').map((line) => JSON.parse(line) as Line);
  }

  of(from: Line['from'], id: string): Message[] {
    return this.lines.filter((line) => line.from === from && idOf(line.msg) === id).map(({ msg }) => msg);
  }

  /** What the agent sent of a stream or a terminal. */
  bytes(id: string): Buffer {
    const parts = this.of('agent', id).filter(({ type }) => type === 'stream' || type === 'exec_output');
    return Buffer.concat(parts.map(({ data }) => Buffer.from(data, 'base64')));
  }

  /** What the server asked and the agent answered, cut off by its own limits of time aside. */
  get asked(): Message[] {
    const sent = this.lines.filter(({ from }) => from === 'server').map(({ msg }) => msg);
    return sent.filter(
      ({ type, requestId, path }) => type === 'request' && path !== VERSION && !this.wasCut(requestId),
    );
  }

  wasCut(id: string): boolean {
    const own = this.of('agent', id);
    return own.length === 0 || own.some(({ code }) => code === 'READ_ERROR' || code === 'DOCKER_ERROR');
  }

  /** All that the server said after its welcome, but for what was cut off. */
  get said(): Message[] {
    const sent = this.lines
      .filter(({ from, msg }) => from === 'server' && msg.type !== 'welcome')
      .map(({ msg }) => msg);
    return sent.filter((msg) => msg.type !== 'request' || !this.wasCut(msg.requestId));
  }

  get execs(): Message[] {
    return this.lines.filter(({ msg }) => msg.type === 'exec_start').map(({ msg }) => msg);
  }
}

/** A Docker that answers as it did when the session was recorded. */
function recordedDocker(session: Session) {
  const asked = [...session.asked];
  const execs = [...session.execs];
  const typed = new Map<string, string>();
  const answer: RequestListener = (request, response) => {
    const { method, url = '' } = request;
    const [path = ''] = url.split('?', 1);
    const at = asked.findIndex((one) => one.method === method && one.path === url);
    const [message] = at === -1 ? [undefined] : asked.splice(at, 1);
    // What was not asked by a request is asked for a terminal.
    if (message === undefined) return void answerOfExec(path, response);
    const { requestId } = message;
    const whole = session.of('agent', requestId).find(({ type }) => type === 'response');
    if (whole !== undefined) {
      const headers = Object.entries<string>(whole.headers ?? {}).filter(([name]) => name !== 'Content-Length');
      response.writeHead(whole.statusCode, Object.fromEntries(headers));
      return void response.end(Buffer.from(whole.body ?? '', whole.isBinary ? 'base64' : 'utf8'));
    }
    response.write(session.bytes(requestId));
    // What the server has cut off goes on for ever.
    if (!session.of('server', requestId).some(({ type }) => type === 'stream_end')) response.end();
  };
  const answerOfExec = (path: string, response: Parameters<RequestListener>[1]) => {
    if (/^\/containers\/[^/]+\/exec$/.test(path)) return void createExec(response);
    const exec = { Running: false, ExitCode: 0, Pid: 0, ContainerID: 'c', ProcessConfig: { tty: true } };
    response.end(path.endsWith('/json') ? JSON.stringify(exec) : '');
  };
  const createExec = (response: Parameters<RequestListener>[1]) => {
    const id = execs.shift()?.execId ?? '';
    const [, status, body] =
      /failed: (\d+) - (.*)/s.exec(session.of('agent', id).find(({ type }) => type === 'error')?.error ?? '') ?? [];
    response.writeHead(status === undefined ? 201 : Number(status), { 'Content-Type': 'application/json' });
    response.end(body ?? JSON.stringify({ Id: id }));
  };
  const hijacked = async (connection: Socket, request: IncomingMessage) => {
    await text(request);
    const id = request.url?.split('/')[2] ?? '';
    connection.on('data', (chunk: Buffer) => typed.set(id, (typed.get(id) ?? '') + chunk.toString()));
    connection.write(session.bytes(id));
    const isLeft = session.of('server', id).some(({ type }) => type === 'exec_end');
    if (!isLeft) connection.end();
  };
  return { answer, hijacked, typed };
}

for (const file of FILES) {
  test(`what the server of ${file} asked is answered as it was then`, async (t) => {
    const session = new Session(file);
    const { answer, hijacked, typed } = recordedDocker(session);
    const made = await fixture(t, answer, { hijacked });
    const { socket } = await openedEdge(t, made);
    const own = (id: string) => socket.sent.filter((message) => idOf(message) === id);
    const sent = (id: string) =>
      Buffer.concat(own(id).flatMap(({ data }) => (data === undefined ? [] : [Buffer.from(data, 'base64')])));
    for (const msg of session.said) {
      const id = idOf(msg);
      if (msg.path === COMPOSE_PATH) setCompose(made.stacks, session.of('agent', id)[0]);
      // It was ended when all of this had come.
      const isEnd = msg.type === 'stream_end' || msg.type === 'exec_end';
      if (isEnd) await waitFor(`all bytes of ${id}`, () => sent(id).length >= session.bytes(id).length);
      socket.say(msg);
      // In their order, by which the Docker of the test knows them.
      if (msg.path === COMPOSE_PATH || msg.type === 'exec_start') await waitFor(id, () => own(id).length > 0);
      await turn();
    }
    for (const { requestId, path, body, streaming } of session.asked) {
      const recorded = session.of('agent', requestId);
      const last = await waitFor(`an answer to ${path}`, () =>
        own(requestId).find(({ type }) => type === (streaming ? 'stream_end' : 'response') || type === 'error'),
      );
      if (path === COMPOSE_PATH) assertCompose(last, recorded[0], body);
      else if (streaming) assert.deepEqual([sent(requestId), last], [session.bytes(requestId), recorded.at(-1)]);
      else if (path.startsWith('/')) assertResponse(last, recorded[0]);
      else assert.equal(last.statusCode, 400, 'a path without a slash never gets to Docker');
    }
    for (const { execId } of session.execs) {
      await waitFor(`the end of ${execId}`, () =>
        own(execId).some(({ type }) => type === 'exec_end' || type === 'error'),
      );
      assertExec(own(execId), session, execId, typed.get(execId) ?? '');
      assert.deepEqual(sent(execId), session.bytes(execId), execId);
    }
    const pings = session.lines.filter(({ from, msg }) => from === 'server' && msg.type === 'ping');
    const pongs = socket.ofType('pong');
    assert.equal(pongs.length, pings.length);
    for (const { timestamp } of pongs) assert.ok(timestamp < 1e10, 'in seconds');
  });
}

/** The sessions that did not come to be: their servers said something else than a welcome as agents know it, or nothing. */
const BEGINNINGS = [
  { name: '06-badtoken-close-only', end: 'REFUSED', reason: 'the Dockhand server says: Invalid token' },
  { name: '06-badtoken-error-field', end: 'REFUSED', reason: 'the Dockhand server says: Invalid token' },
  { name: '06-no-welcome', end: 'TIMEOUT', reason: 'the server did not welcome this agent within 30 s' },
];

/** An agent in Edge mode, and a server that says to each hello what the record's did. */
async function replayedServer(t: TestContext, name: string) {
  const { lines: recorded } = new Session(`${name}.0.2.14.jsonl`);
  const from = recorded.findIndex(({ msg }) => msg.type === 'hello');
  const said = recorded.slice(from + 1, from + 2).flatMap((line) => (line.from === 'server' ? [line.msg] : []));
  const clock = new FakeClock();
  const server = await DockhandServer.start(t, TOKEN);
  server.greet = (session) => {
    for (const message of said) session.say(message);
    // The other ends were the agent's own. Records hold messages alone: this is what its agent logged of the close.
    if (name === '06-badtoken-close-only') session.ws.close(1008, 'Invalid token');
  };
  const made = await fixture(t, (_request, response) => response.end('[]'), { clock });
  const deps = { ...made.context, httpsAgent: new https.Agent(), random: () => 0.5 };
  const edge = HawserEdge.start({ url: server.url, token: TOKEN }, deps);
  defer(t, () => edge.close());
  return { ...made, clock, server, said };
}

const AGAIN = /trying again/;

for (const { name, end, reason } of BEGINNINGS) {
  test(`the server of ${name} is left, and tried again after longer and longer waits`, async (t) => {
    const { server, clock, lines } = await replayedServer(t, name);
    const waits: number[] = [];
    for (let n = 0; n < 3; n++) {
      await server.session(n);
      if (end === 'TIMEOUT') clock.advance(WELCOME_MS);
      const line = await waitFor('the wait', () => lines.filter((one) => AGAIN.test(one))[n]);
      const { code, reason: why, delayMs } = JSON.parse(line);
      assert.deepEqual([code, why], [end, reason]);
      assert.equal(server.sessions.length, n + 1);
      waits.push(delayMs);
      clock.advance(delayMs);
    }
    const [first = 0, second = 0, third = 0] = waits;
    assert.ok(first >= 15_000 && second > first && third > second, waits.join());
  });
}

for (const [name, type] of [
  ['06-ping-before-welcome', 'ping'],
  ['06-welcome-string-envid', 'welcome'],
] as const) {
  test(`what the server of ${name} says, at which agents of Hawser leave, is taken`, async (t) => {
    const { server, lines, said } = await replayedServer(t, name);
    assert.deepEqual(
      said.map((message) => message.type),
      [type],
    );
    const session = await server.session();
    // A ping is not the welcome: that may come after it.
    if (type === 'ping') session.say({ type: 'welcome', environmentId: 7 });
    assert.equal((await session.ask('GET', '/containers/json')).statusCode, 200);
    assert.deepEqual([server.sessions.length, lines.filter((line) => AGAIN.test(line))], [1, []]);
  });
}

function assertResponse(made: Message, recorded: Message): void {
  const { headers: madeHeaders, ...response } = made;
  const { headers, ...wanted } = recorded;
  assert.deepEqual(response, wanted);
  const { 'Content-Length': _, ...named } = headers;
  for (const [name, value] of Object.entries(named)) assert.equal(madeHeaders[name], value);
}

function assertExec(own: Message[], session: Session, execId: string, typed: string): void {
  const recorded = session.of('agent', execId);
  const types = (messages: Message[]) => messages.map(({ type }) => type).filter((type) => type !== 'exec_output');
  assert.deepEqual(types(own), types(recorded), execId);
  const inputs = session.of('server', execId).filter(({ type }) => type === 'exec_input');
  const all = Buffer.concat(inputs.map(({ data }) => Buffer.from(data, 'base64'))).toString();
  assert.ok(all.startsWith(typed), `${execId}: ${typed}`);
  const failed = own.find(({ type }) => type === 'error');
  const { error, code } = recorded.find(({ type }) => type === 'error') ?? {};
  assert.equal(failed?.code, code);
  assert.equal(failed?.error?.slice(0, 25), error?.slice(0, 25));
}

/** Has the stacks do what Compose did. */
function setCompose(stacks: Awaited<ReturnType<typeof fixture>>['stacks'], recorded: Message): void {
  const { success, error = '' } = JSON.parse(recorded?.body ?? '{}');
  const isMissing = /not installed/.test(error);
  if (isMissing) stacks.failure = new FairleadError('UNSUPPORTED', 'this host has no Compose: install it');
  else stacks.failure = success === false ? new FairleadError('DOCKER_ERROR', error) : undefined;
}

function assertCompose(made: Message, recorded: Message, body: Message): void {
  // What Hawser passes on as an option is refused here.
  const isOption = body?.services?.includes('--help') === true;
  if (isOption) {
    assert.equal(made.statusCode, 500);
    return;
  }
  assert.deepEqual([made.type, made.code, made.statusCode], [recorded.type, recorded.code, recorded.statusCode]);
  assert.equal(typeof made.error, typeof recorded.error);
  if (recorded.body === undefined) return;
  const [reply, wanted] = [JSON.parse(made.body), JSON.parse(recorded.body)];
  assert.deepEqual(Object.keys(reply).sort(), Object.keys(wanted).sort());
  assert.equal(reply.success, wanted.success);
  if (/not installed/.test(wanted.error ?? '')) assert.ok(reply.error.startsWith(wanted.error));
}
