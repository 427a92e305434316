/** What one idle agent takes of its host, as the executable that hosts run: memory as the kernel counts it, and processor time. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildExecutables } from '../../../install/build/executable.ts';
import { targetOf } from '../../../install/build/node-binary.ts';
import { type Launched, launchCommand } from '../../support/launcher.ts';
import { enroll, startServer, waitForState } from '../../support/mesh.ts';
import { type Cleanup, tempDir } from '../../support/tmp.ts';
import type { Row } from '../table.ts';

/** Lets it come to rest after the start. */
const SETTLE_MS = 20_000;
/** Several times as long as its slowest habit, so that no moment counts for more than it is. */
const WATCH_MS = 60_000;
const EVERY_MS = 250;
const MAX_RESIDENT_MIB = 60;
const KIB_PER_MIB = 1024;
/** A tick of the kernel's for processes, which is the same on all Linux. */
const TICK_MS = 10;

interface Footprint {
  /** Means over the time, in MiB. */
  residentMib: number;
  proportionalMib: number;
  ownMib: number;
  largestMib: number;
  processorPercent: number;
}

async function watch({ pid }: Launched): Promise<Footprint> {
  await sleep(SETTLE_MS);
  const from = { cpuMs: await cpuOf(pid), atMs: performance.now() };
  const samples: Record<'Rss' | 'Pss' | 'Anonymous', number>[] = [];
  while (performance.now() - from.atMs < WATCH_MS) {
    samples.push(await memoryOf(pid));
    await sleep(EVERY_MS);
  }
  const percent = (100 * ((await cpuOf(pid)) - from.cpuMs)) / (performance.now() - from.atMs);
  const mean = (of: 'Rss' | 'Pss' | 'Anonymous') => samples.reduce((sum, each) => sum + each[of], 0) / samples.length;
  return {
    residentMib: mean('Rss'),
    proportionalMib: mean('Pss'),
    ownMib: mean('Anonymous'),
    largestMib: Math.max(...samples.map(({ Rss }) => Rss)),
    processorPercent: percent,
  };
}

async function memoryOf(pid: number): Promise<Record<'Rss' | 'Pss' | 'Anonymous', number>> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
  const of = (name: string) => Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1]) / KIB_PER_MIB;
  return { Rss: of('Rss'), Pss: of('Pss'), Anonymous: of('Anonymous') };
}

async function cpuOf(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'latin1')).replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

async function idleExecutable(cleanup: Cleanup): Promise<Launched> {
  const [made] = await buildExecutables(
    [targetOf(`${process.platform}-${process.arch}`)],
    await tempDir(cleanup, 'agent-files'),
    { gzipLevel: 0 },
  );
  if (made === undefined) throw new Error('no executable was made');
  const server = await startServer(cleanup);
  const { stateDir } = await enroll(cleanup, server, 'idle');
  const agent = launchCommand(cleanup, made.file, ['run', '--state-dir', stateDir]);
  await waitForState(server, 'idle', 'online');
  return agent;
}

export async function idleAgent(): Promise<Row[]> {
  const undo: (() => unknown)[] = [];
  const cleanup: Cleanup = { after: (fn) => void undo.unshift(fn) };
  try {
    const bare = launchCommand(cleanup, process.execPath, ['--eval', 'setInterval(() => undefined, 5_000)']);
    const [value, baseline] = await Promise.all([idleExecutable(cleanup).then(watch), watch(bare)]);
    const row = (figure: string, of: keyof Footprint, unit = 'MiB'): Row => {
      return {
        figure: `an idle agent: ${figure}`,
        value: value[of],
        baseline: baseline[of],
        against: 'bare Node',
        unit,
      };
    };
    const held = value.residentMib <= MAX_RESIDENT_MIB;
    return [
      { ...row('resident memory', 'residentMib'), target: `≤ ${MAX_RESIDENT_MIB} MiB`, held },
      row('resident memory at its largest', 'largestMib'),
      row('its share, of what is shared', 'proportionalMib'),
      row('memory of its own', 'ownMib'),
      { figure: 'an idle agent: processor time', value: value.processorPercent, unit: '% of a core' },
    ];
  } finally {
    for (const fn of undo) await fn();
  }
}
