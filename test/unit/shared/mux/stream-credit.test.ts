/** Credit of one stream, as its readers and writers see it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listKind, pipeKind, settle } from '../../../support/mux.ts';
import { code, fate, LIMITS, open, WINDOW } from './two-ends.ts';

test('a reader that takes fixed sizes gets everything, however small the window', async () => {
  for (const size of [1, 7, 30, 100]) {
    using pair = await open(pipeKind, {}, { limits: { ...LIMITS, initialWindowBytes: 100, maxWindowBytes: 100 } });
    await pair.answered();
    pair.opener.bytes.end(Buffer.alloc(1050));
    let read = 0;
    pair.acceptor.bytes.on('readable', () => {
      for (let chunk = pair.acceptor.bytes.read(size); chunk !== null; chunk = pair.acceptor.bytes.read(size)) {
        read += (chunk as Buffer).byteLength;
      }
    });
    await settle(400);
    assert.equal(read, 1050, `${size} bytes at a time`);
  }
});

test('items wait for credit, and their sender hears when each has left', async () => {
  using pair = await open(listKind);
  await pair.answered();
  const sent: number[] = [];
  for (const n of [0, 1, 2, 3])
    pair.acceptor.sendItem({ n, fill: 'x'.repeat(600) }).then(
      () => sent.push(n),
      () => undefined,
    );
  await settle();
  assert.deepEqual(sent, [0]);
  const iterator = pair.opener.items()[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).value?.n, 0);
  await settle();
  assert.deepEqual(sent, [0, 1, 2]);
});

test('items beyond what may wait to be sent reset the stream', async () => {
  using pair = await open(listKind, {}, { limits: { ...LIMITS, queuedStreamBytes: 5000 } });
  await pair.answered();
  const fill = 'x'.repeat(1000);
  const results = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => pair.acceptor.sendItem({ n, fill })));
  assert.ok(results.some((result) => result.status === 'rejected' && code('OVERLOADED')(result.reason)));
  assert.equal(await fate(pair.opener), 'OVERLOADED');
});

test('memory of bytes that nobody reads is one window', async () => {
  using pair = await open(pipeKind);
  await pair.answered();
  pair.acceptor.bytes.write(Buffer.alloc(50 * WINDOW));
  await settle(50);
  assert.equal(pair.opener.flow.received, WINDOW);
  assert.equal(pair.acceptor.flow.sent, WINDOW);
});
