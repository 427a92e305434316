/** Rows of metrics: what goes in comes out, what is no row does no harm, and averages do not depend on how they were made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Cells, cellsOf, merged } from '../../server/host-metrics/cells.ts';
import { NumberReader, NumberWriter } from '../../server/host-metrics/numbers.ts';
import {
  decodeCells,
  decodeSamples,
  encodeCells,
  encodeSamples,
  type StoredSample,
} from '../../server/host-metrics/rows.ts';
import { type Figures, MAX_FIGURE, SERIES } from '../../server/host-metrics/series.ts';

/** What a signed number can be: a bit less than a plain one, either way. */
const signedNumber = fc.integer({ min: -(2 ** 52), max: 2 ** 52 - 1 });
const FROM = 1_800_000_000;
const figure = fc.oneof(fc.nat(100), fc.nat(), fc.integer({ min: 0, max: MAX_FIGURE }));
const figures: fc.Arbitrary<Figures> = fc.array(fc.option(figure, { nil: undefined, freq: 4 }), {
  minLength: SERIES.length,
  maxLength: SERIES.length,
});
const samples: fc.Arbitrary<StoredSample[]> = fc
  .array(fc.record({ at: fc.integer({ min: FROM, max: FROM + 299 }), figures }), { maxLength: 12 })
  .map((all) => all.toSorted((a, b) => a.at - b.at));

/** Without what was absent at the end, which a row does not tell from a series that this version does not have. */
function trimmed<T>(values: readonly (T | undefined)[]): (T | undefined)[] {
  return values.slice(0, values.findLastIndex((value) => value !== undefined) + 1);
}

const known = ({ samples, series }: Cells) => ({ samples, series: trimmed(series) });

test('numbers of any size come out as they went in', () => {
  const edges: [number[], number[]] = [
    [0, 2 ** 53 - 1],
    [-(2 ** 52), -1, 0, 2 ** 52 - 1],
  ];
  fc.assert(
    fc.property(fc.array(fc.maxSafeNat()), fc.array(signedNumber), (plain, signed) => {
      const writer = new NumberWriter();
      for (const value of plain) writer.put(value);
      for (const value of signed) writer.putSigned(value);
      const reader = new NumberReader(writer.bytes());
      assert.deepEqual(
        plain.map(() => reader.take()),
        plain,
      );
      assert.deepEqual(
        signed.map(() => reader.takeSigned()),
        signed,
      );
      assert.ok(reader.isAtEnd);
    }),
    { examples: [edges] },
  );
});

test('samples come out of their row as they went in', () => {
  fc.assert(
    fc.property(samples, (all) => {
      const found = decodeSamples(FROM, encodeSamples(FROM, all));
      assert.deepEqual(
        found,
        all.map((sample) => ({ ...sample, figures: trimmed(sample.figures) })),
      );
    }),
  );
});

test('however samples are split, their average, least and most are those of the whole', () => {
  fc.assert(
    fc.property(fc.array(figures, { minLength: 1, maxLength: 40 }), fc.infiniteStream(fc.nat(6)), (all, sizes) => {
      const rest = [...all];
      let together: Cells | undefined;
      while (rest.length > 0) {
        const [size = 0] = sizes.take(1);
        const part = cellsOf(rest.splice(0, size + 1));
        // Each part goes through the store.
        together = merged(together, decodeCells(encodeCells(part)) ?? assert.fail('it was not read'));
      }
      assert.deepEqual(known(together ?? assert.fail('nothing')), known(cellsOf(all)));
      for (const [index] of SERIES.entries()) {
        const values = all.map((one) => one[index]).filter((value) => value !== undefined);
        const cell = together?.series[index];
        if (values.length === 0) {
          assert.equal(cell, undefined);
          continue;
        }
        assert.equal(cell?.count, values.length);
        assert.equal(cell?.min, Math.min(...values));
        assert.equal(cell?.max, Math.max(...values));
        assert.equal(
          cell?.sum,
          values.reduce((a, b) => a + b),
        );
      }
    }),
  );
});

test('the order of parts does not matter', () => {
  fc.assert(
    fc.property(figures, figures, figures, (a, b, c) => {
      const [x, y, z] = [cellsOf([a]), cellsOf([b]), cellsOf([c])];
      assert.deepEqual(known(merged(merged(x, y), z)), known(merged(z, merged(y, x))));
    }),
  );
});

test('bytes that are no row are read as nothing, and take no time', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(1, 2, 7), (bytes, format) => {
      const row = Uint8Array.from([format, ...bytes]);
      assert.ok(decodeSamples(FROM, row).length <= 400);
      const cells = decodeCells(row);
      for (const cell of cells?.series ?? []) assert.ok(cell === undefined || cell.count > 0);
    }),
  );
  fc.assert(
    fc.property(samples, fc.nat(), (all, at) => {
      const row = encodeSamples(FROM, all);
      // What was cut off is not taken for less.
      const cut = row.subarray(0, at % row.length);
      assert.ok(decodeSamples(FROM, cut).length <= all.length);
      assert.equal(decodeCells(row), undefined);
    }),
  );
});

test('a row of ten quiet samples takes less than 400 bytes, and one of five minutes less than 200', () => {
  const sample = (i: number): Figures => SERIES.map(({ scale }) => (scale < 1 ? 16_777_216 + 999 * i : 1_000 + 7 * i));
  const all = Array.from({ length: 10 }, (_, i) => ({ at: FROM + 30 * i, figures: sample(i) }));
  assert.ok(encodeSamples(FROM, all).length < 400, String(encodeSamples(FROM, all).length));
  assert.ok(encodeCells(cellsOf(all.map((one) => one.figures))).length < 200);
});
