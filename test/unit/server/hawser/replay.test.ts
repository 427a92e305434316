/**
 * Sessions of real agents (0.2.14 and 0.2.25, against a Docker Engine 20.10), replayed: each request and exec of theirs is made
 * here, and what the agents said to it comes back.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { type Answer, ask, stream } from '../../../../server/hawser/ask.ts';
import { HawserSession } from '../../../../server/hawser/session.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { parseAgentMessage } from '../../../../shared/hawser/parse.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { FakeSocket, type Message } from './fake-socket.ts';
import { ADMIN, openEdge } from './fixture.ts';

const DIR = new URL('../../../data/hawser/', import.meta.url);
/** Those of Edge mode: what was recorded of the other one is exchanges by HTTP. */
const FILES = readdirSync(DIR).filter((file) => file.endsWith('.jsonl') && !file.startsWith('10-'));

interface Line {
  readonly from: 'agent' | 'server';
  readonly msg: Message;
}

function linesOf(file: string): Line[] {
  const text = readFileSync(new URL(file, DIR), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

/** What was asked for, under the id that it had in the record. */
interface Asked {
  readonly id: string;
  readonly done: Promise<Answer | Buffer | string>;
}

/** Asks what the record's server asked. */
function askAgain(session: HawserSession, socket: FakeSocket, message: Message): Asked | undefined {
  if (message.type === 'exec_start') {
    const output: Buffer[] = [];
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const end = () => resolve(Buffer.concat(output));
    const id = session.begin({ sort: 'exec', data: (bytes) => output.push(bytes), end, fail: reject });
    return { id, done: promise };
  }
  if (message.type !== 'request') return undefined;
  const json = message.body === undefined ? undefined : JSON.stringify(message.body);
  const call = { method: message.method, path: message.path, headers: message.headers, json };
  const done = message.streaming ? stream(session, call).toArray().then(Buffer.concat) : ask(session, call);
  return { id: socket.ofType('request').at(-1).requestId, done };
}

/** What the record's agent said to it. */
function expected(lines: readonly Line[], id: string): { status?: number; bytes: Buffer; failed: boolean } {
  const own = lines
    .filter(({ from, msg }) => from === 'agent' && (msg.requestId ?? msg.execId) === id)
    .map((l) => l.msg);
  const response = own.find(({ type }) => type === 'response');
  const data = own
    .filter(({ type }) => type === 'stream' || type === 'exec_output')
    .map((m) => Buffer.from(m.data, 'base64'));
  const body = Buffer.from(response?.body ?? '', response?.isBinary ? 'base64' : 'utf8');
  return {
    ...(response === undefined ? {} : { status: response.statusCode }),
    bytes: response === undefined ? Buffer.concat(data) : body,
    failed: own.some(({ type }) => type === 'error'),
  };
}

for (const file of FILES.filter((name) => !name.startsWith('06-'))) {
  test(`${file} is understood to its end`, async () => {
    const lines = linesOf(file);
    const socket = new FakeSocket();
    let metrics = 0;
    const session = new HawserSession({
      ...{
        ws: socket.ws,
        clock: new FakeClock(),
        log: { debug: () => undefined, warn: () => undefined, error: () => undefined },
      },
      onMetrics: () => metrics++,
    });
    const asked = new Map<string, Asked>();
    for (const { from, msg } of lines) {
      const id = msg.requestId ?? msg.execId;
      if (from === 'server') {
        const made = askAgain(session, socket, msg);
        made?.done.catch(() => undefined);
        if (made !== undefined) asked.set(id, made);
      } else if (msg.type !== 'hello') {
        const own = asked.get(id)?.id ?? id;
        const key = msg.execId === undefined ? 'requestId' : 'execId';
        socket.say(id === undefined ? msg : { ...msg, [key]: own });
      }
      await turn();
    }
    for (const [id, { done }] of asked) {
      const wanted = expected(lines, id);
      const outcome = await Promise.race([done.catch((error: unknown) => error), turn('none')]);
      if (wanted.failed) assert.ok(isFairleadError(outcome), `${id}: ${String(outcome)}`);
      else if (Buffer.isBuffer(outcome)) assert.deepEqual(outcome, wanted.bytes, id);
      else if (outcome !== 'none') {
        const { status, body } = outcome as Answer;
        assert.deepEqual({ status, body }, { status: wanted.status, body: wanted.bytes }, id);
      }
    }
    const count = (type: string) => lines.filter(({ from, msg }) => from === 'agent' && msg.type === type).length;
    assert.equal(metrics, count('metrics'));
    // Events of containers are taken, and not used.
    const { unknownTypes, invalid, dropped } = session.oddities;
    assert.deepEqual({ unknownTypes, invalid, dropped }, { unknownTypes: 0, invalid: 0, dropped: 0 });
    assert.equal(socket.ofType('pong').length, count('ping'));
    session.close('SHUTDOWN', 'the test is over');
  });
}

test('every hello of the records is that of a host, with its own token in place of the recorded one', async (t) => {
  const { tokens, edge } = await openEdge(t);
  const { token } = await tokens.create({ name: 'lab' }, ADMIN);
  const hellos = FILES.flatMap((file) => linesOf(file).filter(({ msg }) => msg.type === 'hello')).map(({ msg }) => msg);
  assert.ok(hellos.length > 20);
  for (const hello of hellos) assert.ok('message' in parseAgentMessage(JSON.stringify(hello)));
  const socket = new FakeSocket();
  const done = edge.accept({ ws: socket.ws, socket: socket.raw, address: '192.0.2.7', onWelcome: () => undefined });
  socket.say({ ...hellos[0], token });
  await done;
  assert.equal(socket.ofType('welcome').length, 1);
  const refused = new FakeSocket();
  const second = edge.accept({ ws: refused.ws, socket: refused.raw, address: '192.0.2.7', onWelcome: () => undefined });
  refused.say(hellos[0]);
  await second;
  assert.equal(refused.ofType('error')[0].code, 'TOKEN_INVALID');
});

/** The first hello of a record. */
function helloOf(file: string): Message {
  return linesOf(file).find(({ msg }) => msg.type === 'hello')?.msg;
}

for (const file of FILES.filter((name) => name.startsWith('06-badtoken'))) {
  test(`the agent of ${file} is refused in the fields that it reads, each time it comes`, async (t) => {
    const { edge } = await openEdge(t);
    const lines = linesOf(file);
    const hellos = lines.filter(({ msg }) => msg.type === 'hello');
    assert.ok(hellos.length >= 3);
    for (const { msg: hello } of hellos) {
      const socket = new FakeSocket();
      const done = edge.accept({ ws: socket.ws, socket: socket.raw, address: '192.0.2.7', onWelcome: assert.fail });
      socket.say(hello);
      await done;
      const [refusal, ...more] = socket.sent;
      assert.deepEqual([refusal.type, more], ['error', []]);
      assert.ok(refusal.message.length > 0);
      assert.equal(refusal.error, refusal.message);
      const recorded = lines.find(({ msg }) => msg.type === 'error')?.msg ?? {};
      for (const field of Object.keys(recorded)) assert.equal(typeof refusal[field], 'string', field);
      assert.deepEqual(socket.closedWith, { code: 1008, reason: 'TOKEN_INVALID' });
      assert.ok(!JSON.stringify(socket.sent).includes(`"${hello.token}"`));
    }
  });
}

for (const file of ['06-no-welcome', '06-ping-before-welcome', '06-welcome-string-envid']) {
  test(`the agent of ${file}, which went away then, is first told a welcome with a whole number`, async (t) => {
    const { tokens, edge } = await openEdge(t);
    const { token } = await tokens.create({ name: 'lab' }, ADMIN);
    const hello = helloOf(`${file}.0.2.14.jsonl`);
    const socket = new FakeSocket();
    const done = edge.accept({ ws: socket.ws, socket: socket.raw, address: '192.0.2.7', onWelcome: () => undefined });
    socket.say({ ...hello, token });
    await done;
    const [first] = socket.sent;
    assert.equal(first.type, 'welcome');
    assert.ok(Number.isSafeInteger(first.environmentId) && first.environmentId > 0, String(first.environmentId));
    assert.equal(socket.closedWith, undefined);
  });
}
