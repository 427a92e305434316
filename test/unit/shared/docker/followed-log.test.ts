/** Where a followed log goes on: by the text of its last entry, behind a gap, or not at all. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FollowedLog } from '../../../../shared/docker/followed-log.ts';
import { type LogForm, logSink } from '../../../../shared/docker/log-forms.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { dockerFrame } from '../../../support/docker-frames.ts';

const time = (second: number) => `2026-01-01T00:00:0${second}.000000000Z`;
const entry = (second: number, text: string) => dockerFrame(1, `${time(second)} ${text}`);

interface Followed {
  readonly log: FollowedLog;
  out(): string;
}

interface Options {
  form?: LogForm;
  tty?: boolean;
  isTail?: boolean;
  isToldOfGaps?: boolean;
}

function followed(options: Options = {}): Followed {
  const { form = 'bytes', tty = false, isTail = false, isToldOfGaps = form === 'ndjson' } = options;
  const sink = logSink({ form, tty, timestamps: false });
  const onGap = isToldOfGaps ? (after: string) => sink.gap(after) : undefined;
  return {
    log: new FollowedLog({ tty, keepTimestamps: false, emit: sink.emit, isTail, onGap }),
    out: () => String(sink.take() ?? ''),
  };
}

describe('a tail that begins within a long line, whose parts have one time', () => {
  for (const parts of [
    ['AAAA', 'BBBB', 'CCC\n'],
    ['AAAA', 'BBBB', 'DDDD', 'CCC\n'],
    ['AAAAAA', 'BBBBBB', 'CC\n'],
  ]) {
    for (const cut of [1, 2, 100]) {
      for (const tty of [false, true]) {
        test(`goes on with the right part of ${parts.join('|').trim()} (${cut}, ${tty ? 'a terminal' : 'frames'})`, () => {
          const { log, out } = followed({ tty, isTail: true });
          // A terminal's line is known to have parts only where it is as long as Docker makes them.
          const long = tty ? parts.map((part) => part.replace(/[A-D]+/, (text) => text.repeat(500))) : parts;
          const sent = (text: string) => (tty ? Buffer.from(`${time(1)} ${text}`) : entry(1, text));
          const last = long.at(-1) ?? '';
          const begun = sent(last);
          log.push(begun.subarray(0, Math.min(begun.length, begun.length - last.length + cut)));
          log.begin();
          for (const part of long) log.push(sent(part));
          log.push(tty ? Buffer.from(`${time(9)} next\n`) : entry(9, 'next\n'));
          log.end();
          assert.equal(out(), `${last}next\n`);
        });
      }
    }
  }
});

describe('a log that was rotated meanwhile', () => {
  for (const [what, cut] of [
    ['in the middle of a line', 45],
    ['between two lines', 1000],
  ] as const) {
    const first = entry(1, 'the last line\n');
    const gap = (after: string) => ({ after, detail: `what the log had after ${after} is not whole` });

    test(`is broken where only bytes can be given: it was cut ${what}`, () => {
      for (const form of ['bytes', 'frames'] as const) {
        const { log } = followed({ form });
        log.push(entry(0, 'a\n'));
        log.push(first.subarray(0, cut));
        log.begin();
        assert.equal(log.isBroken, false);
        assert.throws(
          () => log.push(entry(5, 'new\n')),
          (error) => isFairleadError(error, 'DOCKER_ERROR') && error.message.includes(time(1)),
        );
        assert.equal(log.isBroken, true);
      }
    });

    test(`is broken when it ends without the place, too: it was cut ${what}`, () => {
      const { log } = followed();
      log.push(first.subarray(0, cut));
      log.begin();
      assert.throws(
        () => log.end(),
        (error) => isFairleadError(error, 'DOCKER_ERROR'),
      );
      assert.equal(log.isBroken, true);
    });

    test(`goes on in records, which tell of the gap: it was cut ${what}`, () => {
      const { log, out } = followed({ form: 'ndjson' });
      log.push(entry(0, 'a\n'));
      log.push(first.subarray(0, cut));
      log.begin();
      log.push(entry(5, 'new\n'));
      log.push(entry(6, 'newer\n'));
      log.end();
      const records = out()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      const begun = cut < first.length ? 'the la' : 'the last line';
      const { after, detail } = gap(time(1));
      assert.deepEqual(
        records.map(({ line, gap: told }) => line ?? told.after),
        ['a', begun, after, 'new', 'newer'],
      );
      assert.ok(records[2].gap.detail.startsWith(detail));
      assert.equal(log.isBroken, false);
    });
  }

  test('ends the line that was begun, where somebody is told of the gap', () => {
    const { log, out } = followed({ isToldOfGaps: true });
    log.push(entry(1, 'the last line\n').subarray(0, 45));
    log.begin();
    log.push(entry(5, 'new\n'));
    log.begin();
    log.push(entry(5, 'new\n'));
    log.push(entry(6, 'newer\n'));
    log.end();
    assert.equal(out(), 'the la\nnew\nnewer\n');
  });

  test('is known by its text where the times agree', () => {
    const { log } = followed();
    log.push(entry(1, 'old\n'));
    log.begin();
    log.push(entry(1, 'new\n'));
    assert.throws(
      () => log.push(entry(2, 'newer\n')),
      (error) => isFairleadError(error, 'DOCKER_ERROR'),
    );
  });
});

test('before a tail may stand what the other stream wrote a little later', () => {
  const { log, out } = followed({ isTail: true });
  const err = dockerFrame(2, `${time(2)} err\n`);
  log.push(entry(1, 'one\n'));
  log.begin();
  for (const one of [err, entry(1, 'one\n'), entry(1, 'two\n')]) log.push(one);
  log.end();
  assert.equal(out(), 'one\ntwo\n');
});

test('entries longer than Docker makes them go on, too', () => {
  const text = `${'x'.repeat(40_000)}${'y'.repeat(40_000)}\n`;
  for (const cut of [100, 16_423, 30_000, 79_000, 80_040]) {
    const { log, out } = followed();
    log.push(entry(1, text).subarray(0, cut));
    log.begin();
    for (let at = 0; at < text.length + 39; at += 7_000) log.push(entry(1, text).subarray(at, at + 7_000));
    log.end();
    assert.equal(out(), text);
  }
});
