/** Rules of one stream that need two sessions, beyond what the conformance suite shows. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import type { StreamKind } from '../../../../shared/messages/kind.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import {
  anyKind,
  callKind,
  execKind,
  listKind,
  logKind,
  type MuxPairOptions,
  pipeKind,
  putKind,
  readAll,
  readyPair,
  settle,
} from '../../../support/mux.ts';

const WINDOW = 1000;
const LIMITS = { initialWindowBytes: WINDOW, maxWindowBytes: 8 * WINDOW, windowShareBytes: 100 };
const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;

/** Both ends of a stream that the server opened; the acceptor has not answered. */
async function open<K extends StreamKind>(kind: K, params: unknown = {}, options: MuxPairOptions = {}) {
  let taken: MuxStream | undefined;
  const onAgent = (stream: MuxStream) => {
    taken = stream;
  };
  const pair = await readyPair({ clock: new FakeClock(), limits: LIMITS, onAgent, ...options });
  const opener = pair.server.open(kind, params as never);
  await settle(4);
  assert.ok(taken !== undefined);
  const acceptor = taken as unknown as MuxStream<K>;
  const answered = async () => {
    acceptor.sendReply({} as never);
    await opener.reply;
  };
  return { ...pair, opener, acceptor, answered, [Symbol.dispose]: () => pair.link.cut() };
}

/** How a stream ended, or `open`. */
async function fate(stream: MuxStream<never> | { closed: Promise<FairleadError | undefined> }): Promise<string> {
  await settle(10);
  const open: unknown = await Promise.race([stream.closed, Promise.resolve('open')]);
  return typeof open === 'string' ? open : isFairleadError(open) ? open.code : 'clean';
}

describe('the reply', () => {
  test('comes before everything else, however long it is', async () => {
    using pair = await open(anyKind, null);
    void pair.acceptor.sendItem('early');
    pair.acceptor.sendReply('x'.repeat(200_000));
    pair.acceptor.finish();
    const items: unknown[] = [];
    for await (const item of pair.opener.items()) items.push(item);
    assert.equal(String(await pair.opener.reply).length, 200_000);
    assert.deepEqual(items, ['early']);
    assert.equal(await fate(pair.opener), 'clean');
  });

  test('comes before bytes that were written first', async () => {
    using pair = await open(logKind);
    pair.acceptor.bytes.end('early');
    await settle();
    assert.equal(pair.opener.flow.received, 0);
    pair.acceptor.sendReply({});
    assert.equal((await readAll(pair.opener.bytes)).toString(), 'early');
  });

  test('is given once, and by the acceptor', async () => {
    using pair = await open(pipeKind);
    assert.throws(() => pair.opener.sendReply({}), /acceptor/);
    pair.acceptor.sendReply({});
    assert.throws(() => pair.acceptor.sendReply({}), /twice/);
    assert.equal(await fate(pair.opener), 'open');
  });

  test('that does not fit its schema fails its stream alone', async () => {
    using pair = await open(callKind, { text: '' });
    assert.throws(() => pair.acceptor.sendReply({ text: 1 } as never), code('MESSAGE_INVALID'));
    assert.equal(await fate(pair.opener), 'MESSAGE_INVALID');
    await assert.rejects(pair.opener.reply, code('MESSAGE_INVALID'));
    assert.equal(pair.server.draining, false);
  });

  test('of a kind with nothing more to send is its end', async () => {
    using pair = await open(putKind);
    pair.opener.bytes.write('x');
    pair.acceptor.sendReply({ bytes: 0 });
    await settle();
    assert.equal(pair.opener.state, 'half-closed (remote)');
    assert.equal(pair.acceptor.state, 'half-closed (local)');
    pair.opener.bytes.end();
    assert.equal((await readAll(pair.acceptor.bytes)).toString(), 'x');
    assert.equal(await fate(pair.acceptor), 'clean');
  });
});

describe('half-close', () => {
  test('of the opener leaves the acceptor its direction', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.opener.bytes.end('question');
    assert.equal((await once(pair.acceptor.bytes.resume(), 'end')).length, 0);
    assert.equal(pair.opener.state, 'half-closed (local)');
    assert.equal(pair.acceptor.state, 'half-closed (remote)');
    pair.acceptor.bytes.end('answer');
    assert.equal((await readAll(pair.opener.bytes)).toString(), 'answer');
    assert.equal(await fate(pair.opener), 'clean');
    assert.equal(await fate(pair.acceptor), 'clean');
  });

  test('of the acceptor leaves the opener its direction', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.end('answer');
    pair.opener.bytes.resume();
    await once(pair.opener.bytes, 'end');
    assert.equal(pair.opener.state, 'half-closed (remote)');
    pair.opener.bytes.end('question');
    assert.equal((await readAll(pair.acceptor.bytes)).toString(), 'question');
    assert.equal(await fate(pair.opener), 'clean');
  });

  test('waits for the bytes before it', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.opener.bytes.end(Buffer.alloc(5 * WINDOW));
    await settle();
    assert.equal(pair.acceptor.flow.received, WINDOW);
    assert.equal(pair.acceptor.state, 'open');
    assert.equal((await readAll(pair.acceptor.bytes)).byteLength, 5 * WINDOW);
    assert.equal(pair.acceptor.state, 'half-closed (remote)');
  });
});

describe('leaving the bytes', () => {
  test('after all were read, with writes that have not left, is no clean end', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.end('bye');
    pair.opener.bytes.write(Buffer.alloc(3 * WINDOW));
    pair.opener.bytes.write(Buffer.alloc(500));
    for await (const _ of pair.opener.bytes) assert.ok(_);
    const read = readAll(pair.acceptor.bytes);
    await assert.rejects(read, code('CANCELLED'));
  });

  test('after all were read and written is a clean end', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.end('bye');
    pair.opener.bytes.write('all');
    await settle();
    for await (const _ of pair.opener.bytes) assert.ok(_);
    assert.equal((await readAll(pair.acceptor.bytes)).toString(), 'all');
    assert.equal(await fate(pair.opener), 'clean');
  });

  test('before the end resets the stream', async () => {
    for (const leaver of ['opener', 'acceptor'] as const) {
      using pair = await open(pipeKind);
      await pair.answered();
      pair[leaver].bytes.destroy();
      assert.equal(await fate(pair.opener), 'CANCELLED');
      assert.equal(await fate(pair.acceptor), 'CANCELLED');
    }
  });

  test('by a FairleadError tells the peer its code', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.destroy(new FairleadError('DOCKER_ERROR', 'no such container'));
    assert.equal(await fate(pair.opener), 'DOCKER_ERROR');
  });

  test('by any other error keeps its text from the peer', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.destroy(new Error('password=hunter2'));
    const error = await pair.opener.closed;
    assert.equal(error?.code, 'INTERNAL');
    assert.doesNotMatch(String(error), /hunter2/);
  });
});

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

describe('signals', () => {
  test('reach a listener that comes late, in order, and need no credit', async () => {
    using pair = await open(execKind);
    pair.opener.bytes.write(Buffer.alloc(3 * WINDOW));
    for (const resize of [1, 2, 3]) pair.opener.signal({ resize });
    await settle();
    const heard: number[] = [];
    pair.acceptor.onSignal(({ resize }) => heard.push(resize));
    pair.opener.signal({ resize: 4 });
    await settle();
    assert.deepEqual(heard, [1, 2, 3, 4]);
  });

  test('go on after the opener has ended its bytes', async () => {
    using pair = await open(execKind);
    await pair.answered();
    const heard: number[] = [];
    pair.acceptor.onSignal(({ resize }) => heard.push(resize));
    pair.opener.bytes.end();
    await settle();
    pair.opener.signal({ resize: 9 });
    await settle();
    assert.deepEqual(heard, [9]);
  });

  test('that do not fit, or on kinds without, are refused to the sender', async () => {
    using pair = await open(execKind);
    assert.throws(() => pair.opener.signal({ resize: 'big' } as never), code('MESSAGE_INVALID'));
    assert.throws(() => pair.acceptor.signal({ resize: 1 }), /no signals/);
    using other = await open(pipeKind);
    assert.throws(() => other.opener.signal({} as never), /no signals/);
    assert.equal(await fate(pair.opener), 'open');
  });

  test('whose listener throws reset the stream alone', async () => {
    using pair = await open(execKind);
    pair.acceptor.onSignal(() => {
      throw new Error('secret');
    });
    pair.opener.signal({ resize: 1 });
    assert.equal(await fate(pair.opener), 'INTERNAL');
    assert.equal(pair.server.draining, false);
  });
});

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
