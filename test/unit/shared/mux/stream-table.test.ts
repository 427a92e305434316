import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFairleadError } from '../../../../shared/errors.ts';
import { MAX_STREAM_ID } from '../../../../shared/mux/frame.ts';
import { DEFAULT_LIMITS } from '../../../../shared/mux/session-limits.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { type Side, StreamTable } from '../../../../shared/mux/stream-table.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const LIMITS = { ...DEFAULT_LIMITS, openStreams: 4, unansweredOpens: 2, closedGraceMs: 1000 };
const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;
/** The table looks at nothing of a stream but its id. */
const stream = (id: number) => ({ id }) as MuxStream;

function make(side: Side = 'server') {
  const clock = new FakeClock();
  return { clock, table: new StreamTable(side, LIMITS, clock) };
}

for (const [side, ids] of [
  ['server', [2, 4, 6]],
  ['agent', [1, 3, 5]],
] as const) {
  test(`the ${side} opens ${ids}`, () => {
    const { table } = make(side);
    const used = ids.map(() => {
      const id = table.nextId() ?? 0;
      table.useOwnId(id);
      return id;
    });
    assert.deepEqual(used, ids);
    assert.ok(ids.every((id) => table.isOwn(id) && !table.isOwn(id + 1)));
  });
}

test('ids are used up at the last that a header holds', () => {
  for (const [side, last] of [
    ['server', MAX_STREAM_ID - 1],
    ['agent', MAX_STREAM_ID],
  ] as const) {
    const { table } = make(side);
    table.useOwnId(last - 2);
    assert.equal(table.nextId(), last);
    table.useOwnId(last);
    assert.equal(table.nextId(), undefined);
  }
});

test('an id of the peer must be its own, and higher than all before', () => {
  const { table } = make();
  table.usePeerId(1);
  table.usePeerId(7);
  assert.equal(table.highestOfPeer, 7);
  for (const id of [7, 5, 3, 1, 2, 8, 0]) assert.throws(() => table.usePeerId(id), code('PROTOCOL_ERROR'), `${id}`);
  table.usePeerId(9);
});

test('room is for both ends together, and for the unanswered of each', () => {
  const { table } = make();
  table.checkOwnRoom(100);
  table.add(stream(2));
  table.add(stream(4));
  assert.throws(() => table.checkOwnRoom(100), code('OVERLOADED'));
  assert.equal(table.hasPeerRoom, true);
  table.answered(2);
  table.checkOwnRoom(100);
  table.add(stream(1));
  table.add(stream(3));
  assert.equal(table.hasPeerRoom, false);
  table.answered(1);
  table.answered(3);
  assert.equal(table.hasPeerRoom, false, 'four are open');
  assert.throws(() => table.checkOwnRoom(100), code('OVERLOADED'));
  table.remove(4);
  table.checkOwnRoom(100);
  assert.equal(table.hasPeerRoom, true);
});

test('the peer may take fewer streams than this end', () => {
  const { table } = make();
  table.checkOwnRoom(1);
  table.add(stream(2));
  assert.throws(() => table.checkOwnRoom(1), code('OVERLOADED'));
  assert.throws(() => table.checkOwnRoom(0), code('OVERLOADED'));
});

test('a stream that is removed unanswered gives its place back', () => {
  const { table } = make();
  for (let id = 2; id < 200; id += 2) {
    table.useOwnId(id);
    table.add(stream(id));
    assert.equal(table.remove(id), true);
    assert.equal(table.remove(id), false);
  }
  assert.equal(table.size, 0);
  table.checkOwnRoom(100);
});

test('closed streams of both ends are forgiven for a grace, others never were', () => {
  const { clock, table } = make();
  table.useOwnId(2);
  table.add(stream(2));
  table.usePeerId(5);
  table.add(stream(5));
  table.remove(2);
  table.remove(5);
  for (const id of [2, 5, 1, 3]) assert.doesNotThrow(() => table.forgive(id), `${id}`);
  for (const id of [4, 7]) assert.throws(() => table.forgive(id), code('PROTOCOL_ERROR'), `${id}`);
  clock.advance(3000);
  for (const id of [2, 5, 1, 3]) assert.throws(() => table.forgive(id), code('PROTOCOL_ERROR'), `${id}`);
});

test('the list of streams does not change as they close', () => {
  const { table } = make();
  for (const id of [2, 4]) table.add(stream(id));
  for (const { id } of table.all()) table.remove(id);
  assert.equal(table.size, 0);
  assert.equal(table.get(2), undefined);
});
