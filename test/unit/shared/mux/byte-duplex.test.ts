import assert from 'node:assert/strict';
import { finished } from 'node:stream/promises';
import { test } from 'node:test';
import { ByteDuplex, type ByteSource } from '../../../../shared/mux/byte-duplex.ts';
import { settle } from '../../../support/mux.ts';

/** A stream behind a Duplex, whose network and peer are the test. */
class FakeSource implements ByteSource {
  chunks: Uint8Array[] = [];
  inboundEnded = false;
  credited = 0;
  readonly written: Uint8Array[] = [];
  /** Writes that have not left yet. */
  readonly pending: ((error?: Error) => void)[] = [];
  ended = 0;
  abandonedWith: (Error | null)[] = [];

  nextChunk(): Uint8Array | undefined {
    return this.chunks.shift();
  }

  taken(bytes: number): void {
    this.credited += bytes;
  }

  write(chunks: readonly Uint8Array[], sent: (error?: Error) => void): void {
    this.written.push(...chunks);
    this.pending.push(sent);
  }

  endWriting(sent: (error?: Error) => void): void {
    this.ended += 1;
    sent();
  }

  abandoned(error: Error | null): void {
    this.abandonedWith.push(error);
  }
}

const BOTH = { readable: true, writable: true };

function make(directions = BOTH) {
  const source = new FakeSource();
  const duplex = new ByteDuplex(source, directions);
  const arrive = (...chunks: number[]) => {
    source.chunks.push(...chunks.map((bytes) => Buffer.alloc(bytes, 1)));
    duplex.deliver();
  };
  return { source, duplex, arrive };
}

test('bytes that nobody asks for stay where they are and earn no credit', async () => {
  const { source, arrive } = make();
  arrive(100, 200);
  await settle(5);
  assert.equal(source.chunks.length, 2);
  assert.equal(source.credited, 0);
});

test('a listener that has not read yet earns no credit', async () => {
  const { source, duplex, arrive } = make();
  duplex.on('readable', () => undefined);
  await settle(5);
  arrive(100, 200, 300);
  await settle(5);
  assert.equal(source.credited, 0);
  assert.ok(duplex.readableLength <= 100, 'one chunk at most is on its way');
});

test('what the application took earns its credit, to the byte', async () => {
  const { source, duplex, arrive } = make();
  arrive(100, 200, 300);
  let read = 0;
  for (let chunk = duplex.read(); chunk !== null; chunk = duplex.read()) read += (chunk as Buffer).byteLength;
  assert.equal(read, 600);
  assert.equal(source.credited, 600);
});

test('a part of a chunk earns no more than that part', () => {
  const { source, duplex, arrive } = make();
  arrive(100);
  assert.equal((duplex.read(30) as Buffer).byteLength, 30);
  duplex.read(0);
  assert.ok(source.credited <= 30, `${source.credited} for 30`);
  assert.equal((duplex.read(70) as Buffer).byteLength, 70);
  duplex.read(0);
  assert.equal(source.credited, 100);
});

test('a paused reader earns nothing for what comes meanwhile', async () => {
  const { source, duplex, arrive } = make();
  let read = 0;
  duplex.on('data', (chunk: Buffer) => {
    read += chunk.byteLength;
    duplex.pause();
  });
  arrive(10, 20, 30);
  await settle(5);
  arrive(40);
  await settle(5);
  assert.equal(read, 10);
  assert.ok(source.credited <= 10);
  duplex.resume();
  await settle(5);
  assert.equal(read, 30);
  assert.ok(source.credited <= 30);
});

test('a reader that flows gets everything in order, then the end', async () => {
  const { source, duplex } = make({ readable: true, writable: false });
  source.chunks = ['a', 'b', 'c'].map((text) => Buffer.from(text));
  source.inboundEnded = true;
  let text = '';
  for await (const chunk of duplex) text += String(chunk);
  assert.equal(text, 'abc');
  assert.equal(source.credited, 3);
});

test('the end comes after the last byte, and only once it was read', async () => {
  const { source, duplex, arrive } = make();
  let ended = false;
  duplex.on('end', () => {
    ended = true;
  });
  source.inboundEnded = true;
  arrive(5);
  await settle(3);
  assert.equal(ended, false);
  assert.equal((duplex.read() as Buffer).byteLength, 5);
  duplex.read();
  await settle(3);
  assert.equal(ended, true);
});

test('a write is done when its bytes have left', async () => {
  const { source, duplex } = make();
  const done: string[] = [];
  duplex.write('one', () => done.push('one'));
  await settle(3);
  assert.deepEqual(done, []);
  source.pending[0]?.();
  await settle(3);
  assert.deepEqual(done, ['one']);
});

test('writes that wait go together', async () => {
  const { source, duplex } = make();
  for (const text of ['a', 'b', 'c', 'd']) duplex.write(text);
  assert.equal(source.pending.length, 1);
  source.pending[0]?.();
  await settle(3);
  assert.equal(source.pending.length, 2);
  assert.equal(Buffer.concat(source.written).toString(), 'abcd');
});

test('the writer is told to wait beyond what may be written ahead', () => {
  const { duplex } = make();
  assert.equal(duplex.write(Buffer.alloc(256 * 1024 - 1)), true);
  assert.equal(duplex.write(Buffer.alloc(1)), false);
});

test('the end of writing comes after the last write', async () => {
  const { source, duplex } = make();
  duplex.end('last');
  assert.equal(source.ended, 0);
  source.pending[0]?.();
  await settle(3);
  assert.equal(source.ended, 1);
  assert.equal(duplex.destroyed, false, 'the other direction lives');
});

test('an error destroys both directions and never looks like an end', async () => {
  const { source, duplex, arrive } = make();
  const events: string[] = [];
  for (const event of ['end', 'finish', 'error', 'close']) duplex.on(event, () => events.push(event));
  duplex.on('data', () => undefined);
  arrive(10);
  source.inboundEnded = false;
  const error = new Error('cut');
  duplex.destroy(error);
  source.inboundEnded = true;
  duplex.deliver();
  await settle(5);
  assert.deepEqual(events, ['error', 'close']);
  assert.deepEqual(source.abandonedWith, [error]);
});

test('an error reaches a reader that waits, after what it has read', async () => {
  const { duplex, arrive } = make();
  const reading = (async () => {
    let read = 0;
    try {
      for await (const chunk of duplex) read += (chunk as Buffer).byteLength;
    } catch (error) {
      return [read, (error as Error).message];
    }
    return [read, 'a clean end'];
  })();
  arrive(7);
  await settle(3);
  duplex.destroy(new Error('cut'));
  assert.deepEqual(await reading, [7, 'cut']);
});

test('an error that nobody listens for does not end the process', async () => {
  const { duplex } = make();
  duplex.destroy(new Error('nobody cares'));
  await settle(3);
  assert.equal(duplex.closed, true);
  assert.equal(duplex.errored?.message, 'nobody cares');
});

test('nothing is handed on once it was destroyed', async () => {
  const { source, duplex, arrive } = make();
  duplex.on('data', () => assert.fail('bytes after the end'));
  await settle(3);
  duplex.destroy();
  arrive(10);
  await settle(3);
  assert.equal(source.credited, 0);
  assert.deepEqual(source.abandonedWith, [null]);
});

test('a Duplex that reads alone takes no writes, and one that writes alone has nothing to read', async () => {
  const reader = make({ readable: true, writable: false });
  assert.equal(reader.duplex.writable, false);
  const writer = make({ readable: false, writable: true });
  assert.equal(writer.duplex.readable, false);
  const done = finished(writer.duplex);
  writer.duplex.end();
  await done;
  assert.equal(writer.source.ended, 1);
});
