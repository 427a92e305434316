/** What applications do with two sessions, step by step, and what must hold at every moment of it. */
import assert from 'node:assert/strict';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { MemoryPool } from '../../shared/mux/memory-pool.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { FakeClock } from '../support/fake-clock.ts';
import { execKind, pipeKind, type ReadyMemoryPair, settle } from '../support/mux.ts';

/** What each stream may send before it is given more. */
export const WINDOW = 1024;
/** What of a stream's flow only rises. */
const RISING = ['sendLimit', 'receiveLimit', 'sent', 'received', 'taken'] as const;
export type Side = 'server' | 'agent';
/** One step of a script; `stream` and `end` choose among those there are. */
export type Op =
  | { op: 'open'; side: Side; exec: boolean }
  | { op: 'write'; stream: number; end: number; bytes: number }
  | { op: 'read'; stream: number; end: number; times: number }
  | { op: 'end' | 'reset' | 'destroy' | 'leave' | 'signal'; stream: number; end: number }
  | { op: 'pause' | 'resume' }
  | { op: 'wait'; turns: number }
  | { op: 'goaway'; side: Side }
  | { op: 'cut' };

/** The byte at an offset of a direction: wrong order, loss and mixing of streams all show. */
const byteAt = (seed: number, offset: number) => (offset * 31 + (offset >>> 8) + seed * 101) & 0xff;

/** One end of a stream: what its application has written and read. */
export class End {
  readonly stream: MuxStream;
  readonly seed: number;
  peer: End | undefined;
  written = 0;
  read = 0;
  wantedEnd = false;
  sawEnd = false;
  /** Whether this end itself has said that it reads no more. */
  leftReading = false;
  error: Error | undefined;
  readonly #highest = { sendLimit: 0, receiveLimit: 0, sent: 0, received: 0, taken: 0 };

  constructor(stream: MuxStream, seed: number) {
    this.stream = stream;
    this.seed = seed;
    stream.bytes.on('end', () => {
      this.sawEnd = true;
    });
    stream.bytes.on('error', (error) => {
      this.error = error;
    });
  }

  write(bytes: number): void {
    if (!this.stream.bytes.writable || this.wantedEnd || this.written > 20_000) return;
    const chunk = Buffer.alloc(bytes);
    for (let index = 0; index < bytes; index += 1) chunk[index] = byteAt(this.seed, this.written + index);
    this.written += bytes;
    this.stream.bytes.write(chunk);
  }

  /** @returns whether there was anything */
  readSome(): boolean {
    const chunk = this.stream.bytes.read() as Buffer | null;
    if (chunk === null) return false;
    const seed = this.peer?.seed ?? -1;
    for (const byte of chunk) {
      assert.equal(byte, byteAt(seed, this.read), `stream ${this.stream.id}, byte ${this.read}`);
      this.read += 1;
    }
    return true;
  }

  end(): void {
    if (this.wantedEnd || this.stream.state === 'closed') return;
    this.wantedEnd = true;
    const isExecAcceptor = this.stream.kind.code === execKind.code && this.seed % 2 === 1;
    if (!isExecAcceptor) {
      this.stream.bytes.end();
      return;
    }
    this.leftReading = true;
    (this.stream as unknown as MuxStream<typeof execKind>).finish({ code: 0 });
  }

  /** As an application that has failed. */
  destroy(): void {
    this.leftReading = true;
    // An opener that has read everything and owes nothing ends its direction by this.
    if (this.sawEnd && this.seed % 2 === 0 && this.stream.bytes.writableLength === 0) this.wantedEnd = true;
    this.stream.bytes.destroy();
  }

  /** As `for await` does: reads what there is, and if that was all, destroys the bytes, whatever is still to be written. */
  async leave(): Promise<void> {
    for (let turn = 0; turn < 3; turn += 1) {
      while (this.readSome());
      await settle(3);
    }
    if (this.sawEnd) this.destroy();
  }

  /** What must hold at every moment. */
  check(): void {
    const { flow, id } = this.stream;
    const peer = this.peer?.stream.flow;
    assert.ok(flow.sent <= flow.sendLimit, `stream ${id} sent ${flow.sent} of ${flow.sendLimit}`);
    assert.ok(flow.received <= flow.receiveLimit, `stream ${id} got ${flow.received} of ${flow.receiveLimit}`);
    if (!this.leftReading)
      assert.ok(flow.taken <= flow.received, `stream ${id} took ${flow.taken} of ${flow.received}`);
    if (peer !== undefined) {
      assert.ok(flow.received <= peer.sent, `stream ${id} got more than was sent`);
      assert.ok(peer.sendLimit <= flow.receiveLimit, `stream ${id} may be sent more than was granted`);
      assert.ok(this.read <= (this.peer?.written ?? 0));
    }
    for (const key of RISING) {
      assert.ok(flow[key] >= this.#highest[key], `${key} of stream ${id} fell`);
      this.#highest[key] = flow[key];
    }
    const whole = this.peer?.wantedEnd === true && this.read === this.peer.written;
    assert.ok(
      !this.sawEnd || whole || this.leftReading,
      `stream ${id} ended after ${this.read} of ${this.peer?.written}`,
    );
    assert.ok(!(this.sawEnd && this.error && !this.leftReading && !whole), 'both an end and an error');
  }
}

/** Two sessions and what their applications have done with them. */
export class Model {
  readonly pair: ReadyMemoryPair;
  readonly pool: MemoryPool;
  readonly clock: FakeClock;
  readonly ends: [End, End][] = [];
  readonly arrivals: Map<number, End>;
  over = false;

  constructor(pair: ReadyMemoryPair, pool: MemoryPool, clock: FakeClock, arrivals: Map<number, End>) {
    this.pair = pair;
    this.pool = pool;
    this.clock = clock;
    this.arrivals = arrivals;
  }

  #end(op: { stream: number; end: number }): End | undefined {
    const pair = this.ends[op.stream % Math.max(1, this.ends.length)];
    const first = pair?.[0];
    return op.end === 0 ? first : first?.peer;
  }

  /** @returns undefined where memory is short */
  #open(session: Session, exec: boolean): MuxStream | undefined {
    const isShort = !this.pool.hasRoom(WINDOW);
    try {
      const opened = session.open(exec ? execKind : pipeKind, {}) as unknown as MuxStream;
      assert.ok(!isShort, 'a stream was opened without memory for it');
      return opened;
    } catch (error) {
      assert.ok(isShort && isFairleadError(error, 'OVERLOADED'), String(error));
      return undefined;
    }
  }

  /** Joins the two ends of streams that have arrived. */
  #join(): void {
    for (const [first] of this.ends) {
      const other = this.arrivals.get(first.stream.id);
      if (other === undefined || first.peer !== undefined) continue;
      first.peer = other;
      other.peer = first;
    }
  }

  async run(op: Op): Promise<void> {
    switch (op.op) {
      case 'open': {
        const session = this.pair[op.side];
        if (session.draining || this.ends.length > 5) break;
        const opened = this.#open(session, op.exec);
        if (opened === undefined) break;
        const first = new End(opened, opened.id * 2);
        this.ends.push([first, first]);
        break;
      }
      case 'write':
        this.#end(op)?.write(op.bytes);
        break;
      case 'read': {
        const reader = this.#end(op);
        for (let times = 0; times < op.times; times += 1) reader?.readSome();
        break;
      }
      case 'end':
        this.#end(op)?.end();
        break;
      case 'reset':
        this.#end(op)?.stream.reset(new FairleadError('CONFLICT', 'the model'));
        break;
      case 'destroy':
        this.#end(op)?.destroy();
        break;
      case 'leave':
        await this.#end(op)?.leave();
        break;
      case 'signal': {
        const signaller = this.#end({ ...op, end: 0 })?.stream as unknown as MuxStream<typeof execKind> | undefined;
        if (signaller?.kind.code === execKind.code) signaller.signal({ resize: 1 });
        break;
      }
      case 'pause':
        this.pair.link.pause();
        break;
      case 'resume':
        this.pair.link.resume();
        break;
      case 'wait':
        await settle(op.turns);
        break;
      case 'goaway':
        this.over = true;
        void this.pair[op.side].goaway({ code: 'SHUTDOWN', reason: 'the model', deadlineMs: 1000 });
        break;
      case 'cut':
        this.over = true;
        this.pair.link.cut();
        break;
    }
    this.#join();
    this.check();
  }

  check(): void {
    const { server, agent } = this.pair;
    assert.equal(this.pool.usedBytes, server.stats.memoryBytes + agent.stats.memoryBytes, 'the pool knows all');
    for (const [first] of this.ends) {
      first.check();
      first.peer?.check();
    }
  }

  get all(): End[] {
    return this.ends.flatMap(([first]) => (first.peer === undefined ? [first] : [first, first.peer]));
  }

  /** Reads everything until nothing moves any more. */
  async drain(): Promise<void> {
    for (let idle = 0; idle < 3; ) {
      await settle(6);
      // A sender that paces itself waits for the time to pass.
      this.clock.advance(5);
      this.#join();
      this.check();
      let moved = false;
      for (const one of this.all) {
        while (one.readSome()) moved = true;
      }
      idle = moved ? 0 : idle + 1;
    }
    this.check();
  }

  /** Everything that was written to a stream that lives has been read. */
  checkProgress(): void {
    for (const one of this.all) {
      if (one.stream.state === 'closed' || one.leftReading || one.peer === undefined) continue;
      if (one.peer.stream.state === 'closed' || one.peer.leftReading) continue;
      assert.equal(one.read, one.peer.written, `stream ${one.stream.id} stalls`);
    }
  }
}
