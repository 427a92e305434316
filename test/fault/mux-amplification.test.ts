/** Frames that are small on the wire and dear to whoever decodes, answers or keeps them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromAgentError } from '../../shared/errors.ts';
import {
  MAX_CONTROL_MESSAGE_BYTES,
  MAX_CONTROL_MESSAGE_NODES,
  MAX_ITEM_BYTES,
  MAX_ITEM_NODES,
} from '../../shared/limits.ts';
import { goaway, heartbeat, ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { callKind } from '../support/mux.ts';
import { attack, frame, pack } from '../support/mux-faults.ts';
import { within } from '../support/wait.ts';

const beat = (seq: number, more: object = {}) =>
  frame(
    heartbeat.code,
    0,
    0,
    pack({ seq, time: 0, load: [0, 0, 0], streams: 0, docker: { reachable: false }, ...more }),
  );
const empties = (count: number) => Array.from({ length: count }, () => ({}));

test('an agent that beats a hundred times a second and more is cut off, even if it reads the answers', async () => {
  const { send, expectEnd } = await attack('server');
  for (let seq = 0; seq < 1_100; seq += 1) send(beat(seq));
  await expectEnd('PROTOCOL_ERROR');
});

test('a peer that pings without end is cut off, and an hour of honest beats and pings is none of that', async () => {
  const flood = await attack('server');
  for (let id = 0; id < 1_100; id += 1) flood.send(frame(ping.code, 0, 0, pack({ id })));
  await flood.expectEnd('PROTOCOL_ERROR');

  const honest = await attack('server');
  for (let seq = 0; seq < 240; seq += 1) {
    honest.send(beat(seq));
    honest.clock.advance(15_000);
    assert.ok((await within(1000, 'a pong', honest.attacker.ping())) >= 0);
  }
  await honest.expectAlive();
});

test('a control message with too many values, or too large, ends the session', async () => {
  const many = await attack('server');
  many.send(beat(1, { extra: empties(MAX_CONTROL_MESSAGE_NODES) }));
  await many.expectEnd('MESSAGE_INVALID');
  const large = await attack('server');
  large.send(
    frame(goaway.code, 0, 0, pack({ code: 'X', reason: '', lastStream: 0, x: 'x'.repeat(MAX_CONTROL_MESSAGE_BYTES) })),
  );
  await large.expectEnd('MESSAGE_INVALID');
});

test('data for a stream that is closed is counted, not dropped without end', async () => {
  const { ids, send, ends, expectEnd } = await attack('server');
  ends.victim.get(ids.theirs.pipe)?.reset(fromAgentError({ code: 'CANCELLED', message: 'enough' }));
  for (let count = 0; count < 21_000; count += 1) {
    send(frame(MECHANICS['stream.data'], ids.theirs.pipe, 0, Buffer.from([0xc4, 1, 0])));
  }
  await expectEnd('PROTOCOL_ERROR', [ids.theirs.pipe]);
});

test('an item waits as it came, so that what it costs is what its credit says', async () => {
  const { ids, send, ends, expectAlive } = await attack('server');
  const stream = ends.victim.get(ids.mine.list);
  assert.ok(stream);
  // Ten such items would take half a MiB each once decoded.
  const item = pack({ n: 1, x: empties(MAX_ITEM_NODES - 10) });
  for (let count = 0; count < 10; count += 1) send(frame(MECHANICS.item, ids.mine.list, 0, item));
  const first = await stream.items()[Symbol.asyncIterator]().next();
  assert.equal((first.value as { n: number }).n, 1);
  await expectAlive();
});

test('an item beyond its limits ends the session before it is decoded', async () => {
  const many = await attack('server');
  many.send(frame(MECHANICS.item, many.ids.mine.list, 0, pack({ n: 1, x: empties(MAX_ITEM_NODES) })));
  await many.expectEnd('MESSAGE_INVALID');
  const large = await attack('server');
  const fill = 'x'.repeat(MAX_ITEM_BYTES - 10);
  const bytes = pack({ n: 1, fill });
  assert.ok(bytes.byteLength > MAX_ITEM_BYTES);
  large.send(
    frame(MECHANICS.item, large.ids.mine.list, 4, bytes.subarray(0, 1000)),
    frame(MECHANICS.item, large.ids.mine.list, 0, bytes.subarray(1000)),
  );
  await Promise.race([large.victim.closed, new Promise((resolve) => setTimeout(resolve, 500))]);
  assert.ok(['MESSAGE_INVALID', 'FLOW_CONTROL_ERROR'].includes((await large.victim.closed).code));
});

test('an item that does not fit its schema fails its stream alone, when it is taken', async () => {
  const { ids, send, ends, expectAlive } = await attack('server');
  const stream = ends.victim.get(ids.mine.list);
  assert.ok(stream);
  send(frame(MECHANICS.item, ids.mine.list, 0, pack({ n: 'no number' })));
  await assert.rejects(stream.items()[Symbol.asyncIterator]().next(), { code: 'MESSAGE_INVALID' });
  assert.equal((await stream.closed)?.code, 'MESSAGE_INVALID');
  await expectAlive();
});

test('binary data hides in no message: as JSON it would take many times its size', async () => {
  const { ids, send, expectEnd } = await attack('server');
  send(frame(MECHANICS.reply, ids.mine.call, 0, pack({ text: new Uint8Array(100) })));
  await expectEnd('MESSAGE_INVALID');
});

test('an agent cannot speak in codes that are about the caller of the API', async () => {
  for (const code of ['UNAUTHORIZED', 'TOKEN_INVALID', 'FORBIDDEN', 'RATE_LIMITED', 'STORE_FULL', 'HOST_NOT_FOUND']) {
    const { ids, send, ends, expectAlive } = await attack('server');
    const call = ends.victim.get(ids.mine.call);
    assert.equal(call?.kind, callKind);
    send(frame(MECHANICS['stream.reset'], ids.mine.call, 0, pack({ code, message: 'your token\u001b[2J is void' })));
    const error = await call?.closed;
    assert.equal(error?.code, 'INTERNAL');
    assert.equal(error?.message, `${code}: your token [2J is void`);
    await expectAlive();
  }
});
