import assert from 'node:assert/strict';
import { PassThrough, Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { isFairleadError } from '../../../shared/errors.ts';
import { pump } from '../../../shared/pump.ts';

const NEVER = new AbortController().signal;

test('everything arrives, in order, and the sink stays open', async () => {
  const sink = new PassThrough();
  await pump(Readable.from([Buffer.from('a'), Buffer.from('b')], { objectMode: false }), sink, NEVER);
  assert.equal(sink.writableEnded, false);
  assert.equal(await text(sink.end()), 'ab');
});

test('small chunks that come in one turn go on as one, and at once', async () => {
  const written: string[] = [];
  const source = new PassThrough();
  const sink = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk));
      done();
    },
  });
  const pumping = pump(source, sink, NEVER);
  for (const turn of ['abc', 'de']) {
    for (const chunk of turn) source.write(chunk);
    await new Promise(setImmediate);
  }
  assert.deepEqual(written, ['abc', 'de']);
  source.end('f');
  await pumping;
  assert.deepEqual(written, ['abc', 'de', 'f']);
});

test('what came before the source broke off is passed on', async () => {
  const [source, sink] = [new PassThrough(), new PassThrough()];
  const pumping = pump(source, sink, NEVER);
  source.on('data', () => source.destroy());
  source.write('abc');
  await assert.rejects(pumping, (error) => isFairleadError(error, 'STREAM_INTERRUPTED'));
  assert.equal(String(sink.read()), 'abc');
});

test('a slow sink holds the source back', async () => {
  let read = 0;
  const source = new Readable({
    highWaterMark: 1_000,
    read() {
      read += 1_000;
      this.push(Buffer.alloc(1_000));
    },
  });
  const stuck = new Writable({ highWaterMark: 5_000, write: () => undefined });
  const abort = new AbortController();
  const pumping = pump(source, stuck, abort.signal);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(read <= 10_000, `${read} bytes were read for a sink that takes none`);
  abort.abort(new Error('enough'));
  await assert.rejects(pumping, /enough/);
  source.destroy();
});

test('the first failure is what it rejects with, whoever fails', async () => {
  const failing = (): [PassThrough, PassThrough, Promise<void>] => {
    const [source, sink] = [new PassThrough(), new PassThrough()];
    return [source, sink, pump(source, sink, NEVER)];
  };
  const [source, , first] = failing();
  source.destroy(new Error('source'));
  await assert.rejects(first, /source/);
  const [, sink, second] = failing();
  sink.destroy(new Error('sink'));
  await assert.rejects(second, /sink/);
  const [closed, , third] = failing();
  closed.destroy();
  await assert.rejects(third, (error) => isFairleadError(error, 'STREAM_INTERRUPTED'));
  const [, gone, fourth] = failing();
  gone.destroy();
  await assert.rejects(fourth, (error) => isFairleadError(error, 'STREAM_INTERRUPTED'));
});

test('ends that were gone before are noticed', async () => {
  const destroyed = new PassThrough().destroy();
  await assert.rejects(pump(destroyed, new PassThrough(), NEVER));
  await assert.rejects(pump(new PassThrough(), destroyed, NEVER));
  await assert.rejects(pump(new PassThrough(), new PassThrough(), AbortSignal.abort(new Error('left'))), /left/);
  const ended = Readable.from([]);
  await ended.toArray();
  await pump(ended, new PassThrough(), NEVER);
});

test('a failure after the end harms nobody', async () => {
  const [source, sink] = [new PassThrough(), new PassThrough()];
  source.end('x');
  await pump(source, sink, NEVER);
  source.destroy(new Error('late'));
  sink.destroy(new Error('late'));
  await new Promise(setImmediate);
});
