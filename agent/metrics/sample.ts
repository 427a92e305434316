/** What a host used between two looks at its counters. */
import type { HostSample } from '../../shared/messages/metrics.ts';
import type { CpuTimes, InterfaceBytes } from './proc.ts';
import type { Reading } from './reading.ts';

/** The sample that `after` makes with the reading before it. What one of them does not have is left out. */
export function sampleBetween(before: Reading, after: Reading): HostSample {
  const cpu = cpuUse(before.cpu, after.cpu);
  const network = networkUse(before, after);
  return {
    at: after.at,
    uptimeSeconds: after.uptimeSeconds,
    ...(cpu === undefined ? {} : { cpu }),
    ...after.levels,
    ...(network === undefined ? {} : { network }),
  };
}

/** Undefined while no core was there both times, or no time has passed. A core that was taken out or put in counts as none. */
function cpuUse(
  before: ReadonlyMap<string, CpuTimes> | undefined,
  after: ReadonlyMap<string, CpuTimes> | undefined,
): HostSample['cpu'] {
  if (before === undefined || after === undefined) return undefined;
  const spent: CpuTimes[] = [];
  for (const [core, times] of after) {
    const earlier = before.get(core);
    if (earlier !== undefined) spent.push(difference(earlier, times));
  }
  const all = spent.reduce(sum, NOTHING);
  if (totalOf(all) <= 0) return undefined;
  return {
    percent: share(busyOf(all), all),
    user: share(all.user, all),
    system: share(all.system, all),
    iowait: share(all.iowait, all),
    steal: share(all.steal, all),
    cores: spent.map((core) => share(busyOf(core), core)),
  };
}

const NOTHING: CpuTimes = { user: 0, system: 0, idle: 0, iowait: 0, steal: 0 };

/** Linux lets some of these counters fall by a tick; that is no time. */
function difference(before: CpuTimes, after: CpuTimes): CpuTimes {
  const spent = (name: keyof CpuTimes) => Math.max(0, after[name] - before[name]);
  return {
    user: spent('user'),
    system: spent('system'),
    idle: spent('idle'),
    iowait: spent('iowait'),
    steal: spent('steal'),
  };
}

function sum(a: CpuTimes, b: CpuTimes): CpuTimes {
  return {
    user: a.user + b.user,
    system: a.system + b.system,
    idle: a.idle + b.idle,
    iowait: a.iowait + b.iowait,
    steal: a.steal + b.steal,
  };
}

function busyOf({ user, system, steal }: CpuTimes): number {
  return user + system + steal;
}

function totalOf(times: CpuTimes): number {
  return busyOf(times) + times.idle + times.iowait;
}

/** In per cent, in hundredths. */
function share(part: number, whole: CpuTimes): number {
  const total = totalOf(whole);
  return total <= 0 ? 0 : Math.min(100, Math.round((part / total) * 10_000) / 100);
}

/** Counters that fell are those of an interface that was made anew: of it nothing is known this time. */
function networkUse(before: Reading, after: Reading): HostSample['network'] {
  const seconds = (after.monotonicMs - before.monotonicMs) / 1000;
  if (before.interfaces === undefined || after.interfaces === undefined || seconds <= 0) return undefined;
  const moved: InterfaceBytes[] = [];
  for (const [name, now] of after.interfaces) {
    const earlier = before.interfaces.get(name);
    if (earlier === undefined || now.received < earlier.received || now.sent < earlier.sent) continue;
    moved.push({ received: now.received - earlier.received, sent: now.sent - earlier.sent });
  }
  if (moved.length === 0) return undefined;
  const rate = (of: (bytes: InterfaceBytes) => number) =>
    Math.round(moved.reduce((total, bytes) => total + of(bytes), 0) / seconds);
  return {
    receivedBytesPerSecond: rate(({ received }) => received),
    sentBytesPerSecond: rate(({ sent }) => sent),
  };
}
