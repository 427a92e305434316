/** Changed copies of valid bytes: what an attacker makes of something that was right. */
import fc from 'fast-check';

/** Bytes at which readers have their edges. */
const EDGES = [0x00, 0x01, 0x0a, 0x0d, 0x20, 0x30, 0x7f, 0x80, 0x81, 0x84, 0xc1, 0xc6, 0xdd, 0xdf, 0xfe, 0xff];

/** One change of bytes; `others` are the seeds, to take parts of. */
type Change = (bytes: Buffer, others: readonly Buffer[]) => Buffer;

const splice = (bytes: Buffer, at: number, remove: number, insert: Uint8Array): Buffer =>
  Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]);

const place = fc.nat();
const change: fc.Arbitrary<Change> = fc.oneof(
  // one bit
  fc.tuple(place, fc.nat({ max: 7 })).map(
    ([at, bit]): Change =>
      (bytes) => {
        if (bytes.length === 0) return bytes;
        const index = at % bytes.length;
        return splice(bytes, index, 1, Buffer.of((bytes[index] ?? 0) ^ (1 << bit)));
      },
  ),
  // some bytes in the place of some
  fc
    .tuple(
      place,
      fc.nat({ max: 8 }),
      fc.array(fc.oneof(fc.constantFrom(...EDGES), fc.nat({ max: 255 })), { maxLength: 8 }),
    )
    .map(
      ([at, remove, insert]): Change =>
        (bytes) =>
          splice(bytes, at % (bytes.length + 1), remove, Buffer.from(insert)),
    ),
  // a number that is too large, or at an edge
  fc
    .tuple(
      place,
      fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff),
      fc.constantFrom(1, 2, 4),
    )
    .map(
      ([at, value, size]): Change =>
        (bytes) => {
          const number = Buffer.alloc(size);
          number.writeUIntBE(value % 2 ** (8 * size), 0, size);
          return splice(bytes, at % (bytes.length + 1), size, number);
        },
    ),
  // the end is missing
  place.map(
    (at): Change =>
      (bytes) =>
        bytes.subarray(0, at % (bytes.length + 1)),
  ),
  // a part twice, or many times
  fc.tuple(place, fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 16 })).map(
    ([at, length, times]): Change =>
      (bytes) => {
        const from = at % (bytes.length + 1);
        const part = bytes.subarray(from, from + length);
        return splice(bytes, from, 0, Buffer.concat(Array.from({ length: times }, () => part)));
      },
  ),
  // the beginning of this and the end of another
  fc.tuple(place, place, place).map(
    ([which, at, from]): Change =>
      (bytes, others) => {
        const other = others[which % others.length] ?? bytes;
        return Buffer.concat([bytes.subarray(0, at % (bytes.length + 1)), other.subarray(from % (other.length + 1))]);
      },
  ),
);

/** Copies of `seeds` with one to four changes each; never a seed itself. */
export function changedBytes(seeds: readonly Buffer[]): fc.Arbitrary<Buffer> {
  return fc
    .tuple(fc.nat({ max: seeds.length - 1 }), fc.array(change, { minLength: 1, maxLength: 4 }))
    .map(([which, changes]) => {
      const seed: Buffer = seeds[which] ?? Buffer.alloc(0);
      return changes.reduce<Buffer>((bytes, apply) => apply(bytes, seeds), seed);
    })
    .filter((bytes) => !seeds.some((seed) => seed.equals(bytes)));
}
