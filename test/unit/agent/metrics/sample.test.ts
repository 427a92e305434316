/** Samples are made of counters: of Linux's texts, of those that fall, of cores and interfaces that come and go. */
import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCpuTimes, parseInterfaces } from '../../../../agent/metrics/proc.ts';
import { type Reading, readHost } from '../../../../agent/metrics/reading.ts';
import { sampleBetween } from '../../../../agent/metrics/sample.ts';
import { HostSample } from '../../../../shared/messages/metrics.ts';
import { fits } from '../../../../shared/validate.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const STAT = `cpu  30 0 10 60 0 0 0 0 0 0
cpu0 20 5 5 60 4 1 2 3 9 0
cpu10 10 0 5 0 0 0 0 0 0 0
intr 1234 5 6
ctxt 99
`;

const NET = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 7000 52 0 0 0 0 0 0 7000 52 0 0 0 0 0 0
  eth0:1180 46 0 0 0 0 0 0 3762 31 0 0 0 0 0 0
enp3s0: 20 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0
eth0.10: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0
docker0: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
br-0a1b2c: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
veth12ab: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
   wg0: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
`;

test('the times of each core, without those of guests twice', () => {
  const times = parseCpuTimes(STAT);
  assert.deepEqual(
    [...(times ?? [])],
    [
      ['0', { user: 25, system: 8, idle: 60, iowait: 4, steal: 3 }],
      ['10', { user: 10, system: 5, idle: 0, iowait: 0, steal: 0 }],
    ],
  );
  assert.equal(parseCpuTimes('no such file'), undefined);
});

test('bytes of network cards, and of nothing that repeats them', () => {
  assert.deepEqual(
    [...parseInterfaces(NET)],
    [
      ['eth0', { received: 1180, sent: 3762 }],
      ['enp3s0', { received: 20, sent: 10 }],
    ],
  );
  assert.equal(parseInterfaces('').size, 0);
});

test('no text of these files is too strange', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'cpu0 12\n:eth-.|') }), (text) => {
      for (const { received, sent } of parseInterfaces(text).values()) assert.ok(received >= 0 && sent >= 0);
      for (const times of parseCpuTimes(text)?.values() ?? [])
        assert.ok(Object.values(times).every((time) => time >= 0));
    }),
  );
});

type Counters = Partial<Pick<Reading, 'cpu' | 'interfaces' | 'monotonicMs'>>;
const reading = (counters: Counters): Reading => ({
  monotonicMs: 0,
  at: 1000,
  uptimeSeconds: 5,
  cpu: undefined,
  interfaces: undefined,
  levels: {},
  ...counters,
});
const core = (user: number, idle: number, iowait = 0, steal = 0) => ({ user, system: 0, idle, iowait, steal });

test('shares are of the time between, waiting for disks is idle, what the hypervisor took is not', () => {
  const before = reading({
    cpu: new Map([
      ['0', core(10, 10)],
      ['1', core(0, 0)],
    ]),
  });
  const after = reading({
    cpu: new Map([
      ['0', core(40, 80)],
      ['1', core(20, 60, 10, 10)],
      ['2', core(99, 0)],
    ]),
  });
  const { cpu } = sampleBetween(before, after);
  assert.deepEqual(cpu, { percent: 30, user: 25, system: 0, iowait: 5, steal: 5, cores: [30, 30] });
});

test('without time between, without counters, there are no figures, and no zeros', () => {
  const some = reading({
    cpu: new Map([['0', core(1, 1)]]),
    interfaces: new Map([['eth0', { received: 1, sent: 1 }]]),
  });
  assert.deepEqual(sampleBetween(some, some), { at: 1000, uptimeSeconds: 5 });
  assert.deepEqual(sampleBetween(reading({}), some), { at: 1000, uptimeSeconds: 5 });
  const otherCores = reading({ cpu: new Map([['7', core(5, 5)]]) });
  assert.equal(sampleBetween(some, otherCores).cpu, undefined);
});

test('rates go by the clock that never goes back, and leave out an interface that began anew', () => {
  const interfaces = (eth0: number, eth1: number) =>
    new Map([
      ['eth0', { received: eth0, sent: 2 * eth0 }],
      ['eth1', { received: eth1, sent: eth1 }],
    ]);
  const before = reading({ interfaces: interfaces(1000, 9000), monotonicMs: 1_000 });
  const after = reading({ interfaces: interfaces(4000, 50), monotonicMs: 3_000 });
  const { network } = sampleBetween(before, after);
  assert.deepEqual(network, { receivedBytesPerSecond: 1500, sentBytesPerSecond: 3000 });
});

test('whatever the counters do, the sample fits the wire', () => {
  const times = fc.record({
    user: fc.nat(),
    system: fc.nat(),
    idle: fc.nat(),
    iowait: fc.nat(),
    steal: fc.nat(),
  });
  const bytes = fc.record({ received: fc.maxSafeNat(), sent: fc.maxSafeNat() });
  const readings = fc.record({
    cpu: fc.array(times, { maxLength: 4 }).map((all) => new Map(all.map((one, i) => [String(i), one]))),
    interfaces: fc.array(bytes, { maxLength: 1 }).map((all) => new Map(all.map((one, i) => [`eth${i}`, one]))),
    monotonicMs: fc.integer({ min: 1_000, max: 1e9 }),
  });
  fc.assert(
    fc.property(readings, readings, (before, after) => {
      assert.ok(fits(HostSample, sampleBetween(reading({ ...before, monotonicMs: 0 }), reading(after))));
    }),
  );
});

test('this machine can be read, and a disk that is not there is left out', async () => {
  const clock = new FakeClock();
  const { cpu, levels } = await readHost(clock, '/');
  assert.ok(cpu !== undefined && cpu.size > 0);
  assert.ok(Math.abs((levels.memory?.totalBytes ?? 0) - totalmem()) < totalmem() / 50);
  assert.ok((levels.disk?.totalBytes ?? 0) > 0);
  assert.equal((await readHost(clock, '/no/such/directory')).levels.disk, undefined);
});
