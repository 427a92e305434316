/**
 * Keeps few pages of the executable resident. Whatever of its code and data was used once, mostly at the start, stays mapped
 * with its neighbours (the kernel maps 16 pages for each that is asked for): some 65 MiB, of which an idle agent uses a tenth.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { isSea } from 'node:sea';
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';

/**
 * How often: what an idle agent does now and then, it does in less than that. What is used right then comes back from the file's
 * cache by some 400 faults of a few microseconds, with which such an agent takes 0.6 % of a processor in place of 0.3 %.
 */
const EVERY_MS = 1_000;
/** Linux's, the same on every architecture that there are executables for. */
const MADV_DONTNEED = 4;

const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) r-[-x]p [0-9a-f]+ \S+ \d+ +(\/.+)$/m;
/** A page that was written to is no page of the file any more: it must not be dropped. */
const UNWRITTEN = /^Anonymous: +0 kB$/m;

/** A range of addresses. */
export interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** Gives pages back. @returns whether the kernel took them */
export type GiveBack = (range: Range) => boolean;

/**
 * The mappings of a file that nobody can have changed in memory. Those of the executable stay where they are for as long as it
 * runs: no other's may be remembered, whose addresses could be somebody else's later.
 * @param smaps the text of /proc/self/smaps @param file as it stands there
 */
export function fileMappings(smaps: string, file: string): Range[] {
  const parts = smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return parts.flatMap((part) => {
    const found = MAPPING.exec(part);
    if (found?.[3] !== file || !UNWRITTEN.test(part)) return [];
    return [{ start: BigInt(`0x${found[1]}`), end: BigInt(`0x${found[2]}`) }];
  });
}

export interface FilePagesOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** By default the system's; undefined: there is no way here. */
  readonly giveBack?: GiveBack | undefined;
  readonly readMappings?: () => string;
  /** The executable, as the mappings name it. */
  readonly ownFile?: () => string;
}

/** Drops such pages now and then until `stop` fires. They are read again, from the file's cache or from the file, when they are used. */
export function dropFilePages(options: FilePagesOptions, stop: AbortSignal): void {
  const { clock, log, giveBack = systemsWay(log) } = options;
  const { readMappings = () => readFileSync('/proc/self/smaps', 'utf8') } = options;
  const { ownFile = () => readlinkSync('/proc/self/exe') } = options;
  if (giveBack === undefined || stop.aborted) return;
  let ranges: Range[] | undefined;
  let timer: Timer;
  const drop = () => {
    try {
      // They stay where they are, and nobody can write to them.
      ranges ??= fileMappings(readMappings(), ownFile());
    } catch (error) {
      log.debug({ err: error }, 'pages of the executable are not given back: what is mapped cannot be read');
      return;
    }
    ranges = ranges.filter(giveBack);
    timer = clock.setTimeout(drop, EVERY_MS);
  };
  timer = clock.setTimeout(drop, EVERY_MS);
  stop.addEventListener('abort', () => timer.cancel(), { once: true });
}

/** madvise(2), in executables alone: elsewhere Node would warn on stderr that its ways to native functions are new. */
function systemsWay(log: Logger): GiveBack | undefined {
  if (!isSea() || process.platform !== 'linux') return undefined;
  const ffi = process.getBuiltinModule('node:ffi');
  if (ffi === undefined) return undefined;
  try {
    const { functions } = ffi.dlopen(null, { madvise: { arguments: ['u64', 'u64', 'i32'], return: 'i32' } });
    return ({ start, end }) => functions.madvise(start, end - start, MADV_DONTNEED) === 0;
  } catch (error) {
    log.debug({ err: error }, 'pages of the executable are not given back: there is no madvise here');
    return undefined;
  }
}
