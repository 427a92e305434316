/** Pages of files are given back that nobody has written to, and no others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { dropFilePages, fileMappings, type Range } from '../../../../agent/memory/file-pages.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const log = pino({ level: 'silent' });
const mapping = (head: string, anonymous: number) =>
  `${head}\nSize: 100 kB\nRss: 80 kB\nAnonymous: ${String(anonymous).padStart(8)} kB\nVmFlags: rd mr mw me\n`;
const SMAPS = [
  mapping('00400000-0082e000 r--p 00000000 fe:00 2220627                            /usr/bin/an agent', 0),
  mapping('0082e000-03489000 r-xp 0042e000 fe:00 2220627                            /usr/bin/an agent', 0),
  // Was written to while it was linked.
  mapping('072a7000-072dc000 r--p 06ea7000 fe:00 2220627                            /usr/bin/an agent', 212),
  mapping('072dc000-0735a000 rw-p 06edc000 fe:00 2220627                            /usr/bin/an agent', 0),
  mapping('7f00000a0000-7f00000b0000 r--p 00000000 fe:00 78                         /etc/ld.so.cache', 0),
  mapping('44bb0000-45017000 rw-p 00000000 00:00 0                                  [heap]', 4124),
  mapping('7f0000000000-7f0000001000 r-xp 00000000 00:00 0                          [vdso]', 0),
  mapping('7f0000002000-7f0000003000 r--p 00000000 00:00 0 ', 0),
  mapping('7f0000004000-7f0000005000 r--s 00000000 fe:00 77                         /dev/shm/shared', 0),
].join('');
const OWN = '/usr/bin/an agent';
const EXPECTED: Range[] = [
  { start: 0x400000n, end: 0x82e000n },
  { start: 0x82e000n, end: 0x3489000n },
];

test('mappings of files that cannot differ from them', () => {
  assert.deepEqual(fileMappings(SMAPS, OWN), EXPECTED);
  assert.deepEqual(fileMappings('', OWN), []);
});

test('pages are given back every second, until the agent stops', () => {
  const clock = new FakeClock();
  const given: Range[] = [];
  const stop = new AbortController();
  dropFilePages(
    {
      clock,
      log,
      giveBack: (range) => given.push(range) > 0,
      readMappings: () => SMAPS,
      ownFile: () => OWN,
    },
    stop.signal,
  );
  clock.advance(999);
  assert.equal(given.length, 0);
  clock.advance(1);
  assert.deepEqual(given.splice(0), EXPECTED);
  clock.advance(1_000);
  assert.equal(given.splice(0).length, 2);
  stop.abort();
  clock.advance(900_000);
  assert.equal(given.length, 0);
});

test('where the mappings cannot be read it is tried once', () => {
  const clock = new FakeClock();
  let reads = 0;
  const readMappings = () => {
    reads += 1;
    throw new Error('no /proc here');
  };
  dropFilePages({ clock, log, giveBack: () => true, readMappings }, new AbortController().signal);
  clock.advance(1_000_000);
  assert.equal(reads, 1);
});
