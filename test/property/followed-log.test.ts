/** A log that is cut anywhere, again and again, and opened again, comes out as if it had never been. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FollowedLog } from '../../shared/docker/followed-log.ts';
import { type LogForm, logSink } from '../../shared/docker/log-forms.ts';
import type { FairleadError } from '../../shared/errors.ts';
import { dockerFrame } from '../support/docker-frames.ts';

/** An entry as Docker has it in its log. */
interface Entry {
  readonly stream: 1 | 2;
  /** Unix nanoseconds. */
  readonly at: bigint;
  readonly text: Buffer;
}

const START = 1_700_000_000_000_000_000n;

function timeOf(at: bigint): string {
  const seconds = new Date(Number(at / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(at % 1_000_000_000n).padStart(9, '0')}Z`;
}

/** `since` as Docker reads it. */
function nanoseconds(since: string | undefined): bigint {
  if (since === undefined) return 0n;
  const [seconds = '0', fraction = ''] = since.split('.');
  return BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** What Docker sends of a log: its entries from `since` on, in their order. */
function answered(log: readonly Entry[], tty: boolean, since?: string): Buffer {
  const from = nanoseconds(since);
  const sent = log.filter(({ at }) => at >= from);
  const timed = (entry: Entry) => Buffer.concat([Buffer.from(`${timeOf(entry.at)} `), entry.text]);
  return Buffer.concat(sent.map((entry) => (tty ? timed(entry) : dockerFrame(entry.stream, timed(entry)))));
}

/**
 * What comes of the log when it is cut after each of `lengths` bytes in turn, and read to its end at last; `first` is what it
 * gives at first.
 */
function followed(
  log: readonly Entry[],
  options: { tty: boolean; form: LogForm; timestamps: boolean },
  cuts: number[][],
  first = log,
  isTail = first !== log,
) {
  const { tty, form, timestamps } = options;
  const sink = logSink({ form, tty, timestamps });
  const onGap = form === 'ndjson' ? sink.gap : undefined;
  const tail = new FollowedLog({ tty, keepTimestamps: timestamps, emit: sink.emit, isTail, onGap });
  const out: Buffer[] = [];
  const take = () => {
    const piece = sink.take();
    if (piece !== undefined) out.push(Buffer.from(piece as string));
  };
  for (const [length = 0, size = 1] of cuts) {
    const { since } = tail;
    const bytes = answered(since === undefined ? first : log, tty, since).subarray(0, length);
    for (let at = 0; at < bytes.length; at += size) {
      tail.push(bytes.subarray(at, at + size));
      take();
    }
    tail.begin();
  }
  tail.push(answered(tail.since === undefined ? first : log, tty, tail.since));
  tail.end();
  sink.end();
  take();
  return Buffer.concat(out);
}

const cuts = fc.array(fc.tuple(fc.nat({ max: 3_000 }), fc.integer({ min: 1, max: 200 })), { maxLength: 6 });
const forms = fc.record({
  form: fc.constantFrom<LogForm>('bytes', 'ndjson', 'frames'),
  timestamps: fc.boolean(),
});
/** Steps between entries: many share a time, some come in disorder between the streams, some much later. */
const steps = fc.constantFrom(0n, 0n, 0n, 1n, 7n, 1_000_000n, 3_000_000_000n);
const entries = fc.array(
  fc.record({ stream: fc.constantFrom<1 | 2>(1, 2), step: steps, text: fc.string({ unit: 'binary', maxLength: 90 }) }),
  { maxLength: 30 },
);

function logOf(drawn: readonly { stream: 1 | 2; step: bigint; text: string }[], tty: boolean): Entry[] {
  let at = START;
  return drawn.map(({ stream, step, text }) => {
    at += step;
    // The times of the two streams are taken before they come to the log, each by itself.
    const skew = stream === 2 && !tty ? 1_000_000n : 0n;
    return { stream: tty ? 1 : stream, at: at - skew, text: Buffer.from(`${text.replaceAll('\n', ' ')}\n`) };
  });
}

test('a multiplexed log, cut anywhere, loses and repeats nothing', () => {
  fc.assert(
    fc.property(entries, cuts, forms, (drawn, where, form) => {
      const log = logOf(drawn, false);
      const options = { ...form, tty: false };
      assert.deepEqual(followed(log, options, where), followed(log, options, []));
    }),
    { numRuns: 300 },
  );
});

test('a terminal’s log, cut anywhere, loses and repeats nothing', () => {
  fc.assert(
    fc.property(entries, cuts, forms, (drawn, where, form) => {
      const log = logOf(drawn, true);
      const options = { ...form, tty: true };
      assert.deepEqual(followed(log, options, where), followed(log, options, []));
    }),
    { numRuns: 300 },
  );
});

test('a terminal’s line that Docker has cut into parts comes out as one, wherever it is cut', () => {
  const long = Buffer.from('x'.repeat(2_000));
  const parts = [0, 1, 2].map((part) => ({
    stream: 1 as const,
    at: START,
    text: part < 2 ? long : Buffer.from('end\r\n'),
  }));
  const log: Entry[] = [...parts, { stream: 1, at: START + 5n, text: Buffer.from('next\r\n') }];
  const whole = Buffer.concat(log.map(({ text }) => text));
  const options = { tty: true, form: 'bytes' as const, timestamps: false };
  fc.assert(
    fc.property(fc.nat({ max: 4_200 }), fc.integer({ min: 1, max: 300 }), (length, size) => {
      assert.deepEqual(followed(log, options, [[length, size]]), whole);
    }),
    { numRuns: 100 },
  );
});

/** The same entries, each with a text that no other has, from its first byte on. */
const told = (log: readonly Entry[]) =>
  log.map((entry, index) => ({
    ...entry,
    text: Buffer.concat([Buffer.from(String.fromCharCode(0x40 + index)), entry.text]),
  }));

test('a tail that begins anywhere, also among entries of one time, loses and repeats nothing', () => {
  fc.assert(
    fc.property(entries, fc.nat(), cuts, forms, (drawn, begin, where, form) => {
      const log = told(logOf(drawn, false));
      const tail = log.slice(begin % (log.length + 1));
      const options = { ...form, tty: false };
      const isAnything = tail.length > 0 && where.every(([length = 0]) => length > 60);
      fc.pre(isAnything);
      assert.deepEqual(followed(log, options, where, tail), followed(tail, options, []));
    }),
    { numRuns: 300 },
  );
});

test('a log that was rotated meanwhile comes out whole, fails, or tells of its gap', () => {
  const lines = (bytes: Buffer) => bytes.toString().split('\n').slice(0, -1);
  fc.assert(
    fc.property(
      entries,
      fc.nat(),
      fc.integer({ min: 1, max: 3_000 }),
      fc.boolean(),
      forms,
      (drawn, gone, cut, isTail, form) => {
        const log = told(logOf(drawn, false));
        const options = { ...form, tty: false };
        const rotated = log.slice(gone % (log.length + 1));
        const whole = followed(log, options, []);
        let out: Buffer;
        try {
          out = followed(rotated, options, [[cut]], log, isTail);
        } catch (error) {
          assert.equal((error as FairleadError).code, 'DOCKER_ERROR');
          assert.notEqual(form.form, 'ndjson');
          return;
        }
        const at = form.form === 'ndjson' ? lines(out).findIndex((line) => 'gap' in JSON.parse(line)) : -1;
        if (at === -1) return assert.deepEqual(out, whole);
        // The last line before the gap may be cut.
        const [before, after] = [lines(out).slice(0, Math.max(at - 1, 0)), lines(out).slice(at + 1)];
        assert.deepEqual(before, lines(whole).slice(0, before.length));
        assert.deepEqual(after, after.length === 0 ? [] : lines(whole).slice(-after.length));
      },
    ),
    { numRuns: 300 },
  );
});

test('text that looks like frames, times or nothing is output or a FairleadError', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), fc.boolean(), (chunks, tty) => {
      const sink = logSink({ form: 'ndjson', tty, timestamps: false });
      const tail = new FollowedLog({ tty, keepTimestamps: false, emit: sink.emit });
      try {
        for (const chunk of chunks) tail.push(Buffer.from(chunk));
        tail.begin();
        for (const chunk of chunks) tail.push(Buffer.from(chunk));
        tail.end();
      } catch (error) {
        assert.equal((error as Error).name, 'FairleadError');
      }
    }),
  );
});
