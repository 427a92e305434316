/** What is asked of everything that reads a stranger's bytes: it takes them or refuses them, and takes nothing that is wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { changedBytes } from './mutations.ts';

/** A reader under test. To test another one, describe it like this and `attack` it in `test/property/`. */
export interface HostileReader<T = unknown> {
  readonly name: string;
  /** Valid bytes, from which the hostile ones are made. */
  readonly seeds: readonly Buffer[];
  /** Reads as the product does. */
  readonly read: (bytes: Buffer) => T | Promise<T>;
  /** The codes with which it may refuse. */
  readonly codes: readonly ErrorCode[];
  /** Fails if `bytes` should have been refused, by a judgement of its own; `value` is what was read. */
  readonly judge: (value: T, bytes: Buffer) => void | Promise<void>;
  /** Hostile bytes that keep to the form, beside those with bytes changed. */
  readonly structured?: fc.Arbitrary<Buffer>;
  /** Whether bytes mean what a seed means, by a spelling that is allowed, and so are no attack. None does unless given. */
  readonly isHarmless?: (bytes: Buffer) => boolean;
  /** 1000 unless given. */
  readonly runs?: number;
}

/** How many of the hostile bytes were taken. */
async function attackReader<T>(reader: HostileReader<T>): Promise<{ taken: number; refused: number }> {
  const count = { taken: 0, refused: 0 };
  for (const seed of reader.seeds) await reader.judge(await reader.read(seed), seed);
  const bytes = changedBytes(reader.seeds);
  const made = reader.structured === undefined ? bytes : fc.oneof(bytes, reader.structured);
  const hostile = made.filter((changed) => reader.isHarmless?.(changed) !== true);
  await fc.assert(
    fc.asyncProperty(hostile, async (changed) => {
      let value: T;
      try {
        value = await reader.read(changed);
      } catch (error) {
        assert.ok(
          reader.codes.some((code) => isFairleadError(error, code)),
          `${reader.name}: ${error instanceof Error ? error.stack : String(error)}`,
        );
        count.refused += 1;
        return;
      }
      count.taken += 1;
      await reader.judge(value, changed);
    }),
    { numRuns: reader.runs ?? 1_000 },
  );
  return count;
}

/**
 * One test of a reader.
 * @param takes whether some of the changed bytes are right, such as a request for another name that is signed again; else every
 * change is to be found
 */
export function attack<T>(reader: HostileReader<T>, { takes }: { takes: boolean }): void {
  test(`${reader.name}: changed bytes are refused, or are right by another judgement`, async (t) => {
    const { taken, refused } = await attackReader(reader);
    t.diagnostic(`${taken} taken, ${refused} refused`);
    assert.ok(refused > 0);
    assert.equal(taken > 0, takes);
  });
}

/** For readers that say no in another way than by an error of the product's family. */
export function refuse(why: string): never {
  throw new FairleadError('VALIDATION', why);
}
