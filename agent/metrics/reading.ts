/** One look at the counters of this host. No process is started for it, and nothing blocks the loop. */
import { readFile, statfs } from 'node:fs/promises';
import { cpus, loadavg, uptime } from 'node:os';
import { mem } from 'systeminformation/lib/memory.js';
import type { Clock } from '../../shared/clock.ts';
import type { HostSample } from '../../shared/messages/metrics.ts';
import { type CpuTimes, type InterfaceBytes, parseCpuTimes, parseInterfaces } from './proc.ts';

/** Counters and levels at one moment. What could not be read is absent. */
export interface Reading {
  /** ms by the clock that never goes back. */
  readonly monotonicMs: number;
  /** ms since 1970. */
  readonly at: number;
  readonly uptimeSeconds: number;
  /** By the number of the core. */
  readonly cpu: ReadonlyMap<string, CpuTimes> | undefined;
  /** By the name of the interface. */
  readonly interfaces: ReadonlyMap<string, InterfaceBytes> | undefined;
  readonly levels: Pick<HostSample, 'load' | 'memory' | 'swap' | 'disk'>;
}

/**
 * Reads them. Of systeminformation only `mem` is used, which reads /proc/meminfo. Its other calls start processes on Linux
 * (`currentLoad`, which even blocks the loop meanwhile, `fsSize`, `networkStats`, `time`), so times of processors come from
 * /proc/stat, bytes of interfaces from /proc/net/dev, disks from statfs and the rest from Node.
 * @param dataRoot the directory whose disk is told; undefined: none
 */
export async function readHost(clock: Clock, dataRoot: string | undefined): Promise<Reading> {
  const [cpu, interfaces, memory, disk] = await Promise.all([
    readCpuTimes(),
    readInterfaces(),
    readMemory(),
    dataRoot === undefined ? undefined : readDisk(dataRoot),
  ]);
  const load = loadavg();
  return {
    monotonicMs: clock.monotonic(),
    at: Math.max(0, Math.round(clock.now())),
    uptimeSeconds: Math.floor(uptime()),
    cpu,
    interfaces,
    levels: { load, ...memory, ...(disk === undefined ? {} : { disk }) },
  };
}

async function readCpuTimes(): Promise<ReadonlyMap<string, CpuTimes>> {
  const text = await textOf('/proc/stat');
  const times = text === undefined ? undefined : parseCpuTimes(text);
  // Node knows nothing of steal and of waiting for disks, but it knows other systems than Linux.
  return times ?? new Map(cpus().map((core, number) => [String(number), nodeTimes(core.times)]));
}

function nodeTimes({ user, nice, sys, idle, irq }: ReturnType<typeof cpus>[number]['times']): CpuTimes {
  return { user: user + nice, system: sys + irq, idle, iowait: 0, steal: 0 };
}

async function readInterfaces(): Promise<ReadonlyMap<string, InterfaceBytes> | undefined> {
  const text = await textOf('/proc/net/dev');
  return text === undefined ? undefined : parseInterfaces(text);
}

async function readMemory(): Promise<Pick<HostSample, 'memory' | 'swap'>> {
  try {
    const { total, available, swaptotal, swapused } = await mem();
    const memory = { totalBytes: total, usedBytes: total - available, availableBytes: available };
    if (!Object.values(memory).every(isCount)) return {};
    if (!(swaptotal > 0) || !isCount(swaptotal) || !isCount(swapused)) return { memory };
    return { memory, swap: { totalBytes: swaptotal, usedBytes: swapused } };
  } catch {
    // Whatever keeps it from being read, the sample goes on without it.
    return {};
  }
}

async function readDisk(path: string): Promise<HostSample['disk']> {
  try {
    const { bsize, blocks, bfree, bavail } = await statfs(path);
    const disk = { totalBytes: bsize * blocks, usedBytes: bsize * (blocks - bfree), availableBytes: bsize * bavail };
    return Object.values(disk).every(isCount) ? disk : undefined;
  } catch {
    return undefined;
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}
