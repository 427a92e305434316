/** Keeps the memory of a process that streams much near what it holds, and its pauses short. */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Streamed bytes between two collections. V8 counts buffers outside its heap against a limit of tens of MiB and then
 * marks the whole heap; a collection of young objects alone, before that, frees the same buffers in a tenth of the time.
 */
const COLLECT_EVERY_BYTES = 6 * 1024 * 1024;
/**
 * What waits for a slow reader outlives two collections of young objects, and is garbage that only a full one finds. It
 * comes when what is held has grown by so much, and by half of what is in use: most of the growth may be in use as well.
 */
const MAX_OLD_GARBAGE_BYTES = 8 * 1024 * 1024;
/** A full collection stops everything, and is due again only after this multiple of what it took of a processor. */
const REST_AFTER_FULL = 4;
/**
 * After how much growth of what is old V8 marks by itself; else up to fourfold. Young buffers count as well until they are
 * collected: with a fifth they alone made it mark a small heap for each 10 MiB that streamed, at several times the cost of
 * all other work.
 */
const MARK_AFTER_GROWTH_PERCENT = 100;

/** Streamed bytes between two looks at what is held: some are copied on their way, and leave more garbage than they are. */
const LOOK_EVERY_BYTES = 1024 * 1024;

type Collect = (options: { type: 'minor' | 'major' }) => void;

let collect: Collect | undefined;
let uncollectedBytes = 0;
let unseenBytes = 0;
/** Too much was held at the last look, and what was young of it has been collected. */
let isOverdue = false;
/** When a full collection may be made again, in ms of the monotonic clock. */
let restsUntil = 0;
/** The least bytes outside the heap that were seen since the last full collection here: what is in use. */
let usedBytes = Number.POSITIVE_INFINITY;

/**
 * Stops V8 from growing its space for young objects, and has it collect them as bytes stream by. Streamed bytes die
 * young, and V8 lets the garbage of a larger space reach tens of MiB before it looks: a log of 100 MB that a client
 * reads slowly costs two processes 100 MiB without this and 20 to 50 with it; and a link of 1 GB/s loses a third of its
 * rate to pauses of 2 to 12 ms.
 * V8 reads the first three flags each time, so that they may be set while it runs; the next is only needed to get hold of
 * the function. A collection does all of its work itself: threads that help cost more to wake than there is of it to share,
 * and buffers that they free later count as held until then.
 */
export function keepYoungHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--no-concurrent-array-buffer-sweeping');
  setFlagsFromString('--no-parallel-scavenge');
  setFlagsFromString('--expose-gc');
  collect = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
}

/**
 * Tells of bytes that have come in buffers of their own and will soon be garbage. Cheap; does nothing unless
 * `keepYoungHeapSmall` was called.
 */
export function countStreamedBytes(bytes: number): void {
  uncollectedBytes += bytes;
  unseenBytes += bytes;
  if (unseenBytes < LOOK_EVERY_BYTES) return;
  unseenBytes = 0;
  if (collect === undefined) return;
  // Not before: a program that is being loaded grows all the time, and is no garbage.
  if (usedBytes === Number.POSITIVE_INFINITY) setFlagsFromString(`--heap-growing-percent=${MARK_AFTER_GROWTH_PERCENT}`);
  const heldBytes = getHeapStatistics().external_memory;
  usedBytes = Math.min(usedBytes, heldBytes);
  const isTooMuch = heldBytes - usedBytes >= Math.max(MAX_OLD_GARBAGE_BYTES, usedBytes / 2);
  const wasTooMuch = isOverdue;
  isOverdue = isTooMuch;
  // Whether it was enough, the next look tells.
  if (uncollectedBytes >= COLLECT_EVERY_BYTES || (isTooMuch && !wasTooMuch)) {
    uncollectedBytes = 0;
    collect({ type: 'minor' });
  } else if (isTooMuch) collectAll(collect);
}

/** Frees what has grown old, unless the last time was so costly that it rests. */
function collectAll(collect: Collect): void {
  if (performance.now() < restsUntil) return;
  const before = process.threadCpuUsage();
  collect({ type: 'major' });
  isOverdue = false;
  usedBytes = getHeapStatistics().external_memory;
  const { user, system } = process.threadCpuUsage(before);
  restsUntil = performance.now() + (REST_AFTER_FULL * (user + system)) / 1000;
}
