/** How a stream ends that is interrupted, or that has finished: what each end hears. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { execKind, listKind, pipeKind, putKind, readAll, settle } from '../../../support/mux.ts';
import { code, fate, open, WINDOW } from './two-ends.ts';

describe('an interrupted stream', () => {
  for (const how of ['reset by the opener', 'reset by the acceptor', 'cut', 'goaway at its deadline'] as const) {
    test(`never ends its bytes cleanly: ${how}`, async () => {
      const clock = new FakeClock();
      using pair = await open(pipeKind, {}, { clock });
      await pair.answered();
      const ends: string[] = [];
      const reads = [pair.opener, pair.acceptor].map((stream) => {
        stream.bytes.on('end', () => ends.push('end'));
        stream.bytes.write('some');
        return readAll(stream.bytes);
      });
      const outcome = Promise.allSettled(reads);
      await settle();
      if (how === 'cut') pair.link.cut();
      else if (how === 'goaway at its deadline') {
        void pair.server.goaway({ code: 'SHUTDOWN', reason: 'now', deadlineMs: 10 });
        clock.advance(10);
      } else {
        const resetter = how === 'reset by the opener' ? pair.opener : pair.acceptor;
        resetter.reset(new FairleadError('CONFLICT', 'no'));
      }
      const expected = how.startsWith('reset') ? 'CONFLICT' : 'STREAM_INTERRUPTED';
      for (const result of await outcome) {
        assert.equal(result.status, 'rejected');
        assert.ok(code(expected)((result as PromiseRejectedResult).reason));
      }
      assert.deepEqual(ends, []);
      for (const stream of [pair.opener, pair.acceptor]) {
        assert.equal(await fate(stream), expected);
        assert.ok(code(expected)(stream.aborted.reason));
        await assert.rejects(readAll(stream.bytes));
      }
    });
  }

  test('fails whoever waits for credit', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    const results: unknown[] = [];
    pair.opener.bytes.write(Buffer.alloc(3 * WINDOW), (error) => results.push(error));
    await settle();
    assert.deepEqual(results, []);
    pair.acceptor.reset(new FairleadError('CONFLICT', 'no'));
    await settle();
    assert.ok(code('CONFLICT')(results[0]));
  });

  test('fails items, their reader and their writer', async () => {
    using pair = await open(listKind);
    await pair.answered();
    const sent = pair.acceptor.sendItem({ n: 1, fill: 'x'.repeat(3 * WINDOW) });
    const reading = (async () => {
      for await (const _ of pair.opener.items()) assert.ok(_);
    })();
    pair.link.pause();
    pair.acceptor.reset(new FairleadError('CONFLICT', 'no'));
    await assert.rejects(sent, code('CONFLICT'));
    await assert.rejects(pair.acceptor.sendItem({ n: 2 }), code('CONFLICT'));
    pair.link.resume();
    await assert.rejects(reading, code('CONFLICT'));
  });

  test('tells of its end by promises that nobody needs to await', async () => {
    using pair = await open(execKind);
    pair.link.cut();
    await settle();
    await assert.rejects(pair.opener.reply, code('STREAM_INTERRUPTED'));
    await assert.rejects(pair.opener.trailer, code('STREAM_INTERRUPTED'));
    assert.equal(pair.opener.aborted.aborted, true, 'also when it is asked for afterwards');
    pair.opener.reset(new FairleadError('CONFLICT', 'late'));
    assert.equal(await fate(pair.opener), 'STREAM_INTERRUPTED');
  });
});

describe('finish', () => {
  test('sends what was written, then the trailer, then END', async () => {
    using pair = await open(execKind);
    await pair.answered();
    pair.acceptor.bytes.write(Buffer.alloc(3 * WINDOW));
    pair.acceptor.finish({ code: 3 });
    pair.acceptor.finish({ code: 4 });
    assert.equal((await readAll(pair.opener.bytes)).byteLength, 3 * WINDOW);
    assert.deepEqual(await pair.opener.trailer, { code: 3 });
    assert.equal(await fate(pair.opener), 'clean');
    assert.equal(await fate(pair.acceptor), 'clean');
  });

  test('lets an opener that still writes off', async () => {
    using pair = await open(execKind);
    await pair.answered();
    pair.opener.bytes.write(Buffer.alloc(5 * WINDOW));
    await settle();
    pair.acceptor.finish({ code: 0 });
    pair.opener.bytes.resume();
    assert.equal(await fate(pair.opener), 'clean');
    assert.equal(await fate(pair.acceptor), 'clean');
  });

  test('lets it off with all that it has written, and queues nothing more', async () => {
    using pair = await open(execKind);
    await pair.answered();
    for (const bytes of [257, 2000, 4]) pair.opener.bytes.write(Buffer.alloc(bytes));
    pair.opener.bytes.end();
    await settle();
    pair.acceptor.bytes.on('readable', () => undefined);
    await settle();
    pair.acceptor.finish({ code: 0 });
    pair.opener.bytes.resume();
    assert.equal(await fate(pair.opener), 'clean');
    assert.equal(await fate(pair.acceptor), 'clean');
    assert.equal(pair.opener.flow.queued, 0);
  });

  test('takes in and drops whatever still comes, even with a chunk in hand that nobody reads', async () => {
    for (const destroys of [false, true]) {
      using pair = await open(putKind);
      pair.opener.bytes.write(Buffer.alloc(WINDOW));
      pair.acceptor.bytes.on('readable', () => undefined);
      await settle();
      assert.ok(pair.acceptor.bytes.readableLength > 0);
      pair.acceptor.sendReply({ bytes: 0 });
      pair.acceptor.finish();
      if (destroys) pair.acceptor.bytes.destroy();
      pair.opener.bytes.end(Buffer.alloc(20 * WINDOW));
      await settle(100);
      assert.equal(await fate(pair.opener), 'clean', destroys ? 'destroyed' : 'left alone');
      assert.equal(await fate(pair.acceptor), 'clean');
    }
  });

  test('needs a trailer that fits', async () => {
    using pair = await open(execKind);
    await pair.answered();
    assert.throws(() => pair.acceptor.finish({ code: 'zero' } as never), code('MESSAGE_INVALID'));
    assert.equal(await fate(pair.opener), 'MESSAGE_INVALID');
  });

  test('needs an answer before it', async () => {
    using pair = await open(execKind);
    assert.throws(() => pair.acceptor.finish({ code: 0 }), /answered/);
    assert.throws(() => pair.opener.finish({ code: 0 }), /acceptor/);
  });
});
