/** How a followed log is asked for again, and when it is not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LogAsk, type OpenedLog, tailLog } from '../../../../shared/docker/log-tail.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { dockerFrame } from '../../../support/docker-frames.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const ID = 'ab'.repeat(32);
const OPENED_AT = '2026-01-02T03:04:00.500Z';
const entry = (second: number, text: string) => dockerFrame(1, `2026-01-02T03:04:0${second}.000000000Z ${text}`);

/** One time that the log is open: what comes of it after so long, and whether it ends by itself then. */
interface Opening {
  readonly afterMs?: number;
  readonly sent?: readonly Buffer[];
  readonly isCut?: boolean;
}

/** Follows a log that is opened as often as there are openings; more of them are a failure. */
async function follow(ask: Omit<LogAsk, 'id' | 'follow'>, openings: readonly Opening[], openedAt?: string) {
  const clock = new FakeClock(Date.parse('2026-01-02T03:10:00Z'));
  const asked: LogAsk[] = [];
  const opened = ({ afterMs = 0, sent = [], isCut = false }: Opening): OpenedLog => ({
    ...{ tty: false, id: ID, openedAt, drop: () => undefined },
    bytes: (async function* () {
      clock.advance(afterMs);
      yield* sent;
      if (isCut) throw new FairleadError('STREAM_INTERRUPTED', 'the session ended');
    })(),
  });
  const chunks = tailLog(opened(openings[0] ?? {}), {
    ...{ ask: { id: 'web', follow: true, ...ask }, form: 'bytes', timestamps: false, clock },
    async open(again) {
      asked.push(again);
      return opened(openings[asked.length] ?? assert.fail('it was opened once more'));
    },
    async comeBack() {
      clock.advance(60_000);
    },
  });
  let text = '';
  let failure: unknown;
  try {
    for await (const chunk of chunks) text += chunk.toString();
  } catch (error) {
    failure = error;
  }
  return { asked, text, failure };
}

test('a log whose place is gone is not opened for ever', async () => {
  const begun = entry(1, 'a long line\n').subarray(0, 44);
  const { asked, failure } = await follow({}, [
    { sent: [entry(0, 'a\n'), begun], isCut: true },
    { sent: [entry(8, 'new\n')] },
  ]);
  assert.equal(asked.length, 1);
  assert.ok(isFairleadError(failure, 'DOCKER_ERROR'));
});

test('a log of which nothing has come yet is asked for from where it was, however late it is', async () => {
  for (const ask of [{}, { since: '1767323000' }, { since: '2026-01-02T03:00:00Z' }]) {
    for (const afterMs of [0, 3_000]) {
      const { asked, text } = await follow(ask, [{ afterMs, isCut: true }, { sent: [entry(1, 'old\n')] }], OPENED_AT);
      const since =
        ask.since === undefined ? {} : { since: ask.since.replace('2026-01-02T03:00:00Z', '1767322800.000000000') };
      assert.deepEqual(asked, [{ id: ID, follow: true, ...since }]);
      assert.equal(text, 'old\n');
    }
  }
});

test('a tail that was over when it was cut is asked for from when it was opened', async () => {
  const again = async (tail: number, afterMs: number) =>
    (await follow({ tail }, [{ afterMs, isCut: true }, {}], OPENED_AT)).asked;
  const fromThen = [{ id: ID, follow: true, since: OPENED_AT }];
  assert.deepEqual(await again(5, 3_000), fromThen);
  assert.deepEqual(await again(0, 0), fromThen);
  assert.deepEqual(await again(5, 100), [{ id: ID, follow: true, tail: 5 }]);
  assert.deepEqual((await follow({ tail: 0 }, [{ isCut: true }, {}])).asked, [{ id: ID, follow: true, tail: 0 }]);
});

test("a duration counts from the first opening, by the host's clock", async () => {
  const ask = { since: '10m', until: '30s' };
  const openings = [{ isCut: true }, { isCut: true }, {}];
  const at = (time: string) => `${Date.parse(time) / 1000}`;
  const cases = [
    [OPENED_AT, '2026-01-02T02:54:00.500Z', '2026-01-02T03:03:30.500Z'],
    // Who does not tell when that was is asked by the clock here.
    [undefined, '2026-01-02T03:00:00Z', '2026-01-02T03:09:30Z'],
    ['now', '2026-01-02T03:00:00Z', '2026-01-02T03:09:30Z'],
  ] as const;
  for (const [openedAt, since, until] of cases) {
    const { asked } = await follow(ask, openings, openedAt);
    for (const again of asked) {
      assert.equal(Number(again.since), Number(at(since)));
      assert.equal(Number(again.until), Number(at(until)));
    }
    assert.equal(asked.length, 2);
  }
});
