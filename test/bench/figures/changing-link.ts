/** A link that changes its rate while three bulk streams fill it, and one that stands still: how soon the new rate is reached. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Link } from '../../support/link-emulator.ts';
import { Echoes, type Latency } from '../echoes.ts';
import type { EchoLink } from '../links/link.ts';
import { rate, type Sample } from '../measure.ts';
import { bytesPerSecond, mbitPerSecond, overLink, type SystemName } from '../systems.ts';
import type { Other, Row } from '../table.ts';
import { makeTls } from '../tls.ts';

const SYSTEMS: SystemName[] = ['ours', 'http2 4 MiB'];
const ROUND_TRIP_MS = 40;
const BULK_STREAMS = 3;
const ECHO_EVERY_MS = 25;
/** How long after a change goodput and echo are judged; and so long before the next one, which would delay them, echoes end. */
const SETTLE_MS = 1_000;
const FREEZE_MS = 2_000;
const SAMPLE_EVERY_MS = 10;
/** A rate is that of so long a time; it is reached once this part of it is. */
const WINDOW_MS = 100;
const REACHED = 0.9;

const PHASES = [
  { name: 'start at 20 Mbit/s', mbit: 20, ms: 5_000, minMbit: 19, maxEchoMs: 100 },
  { name: 'change to 2 Mbit/s', mbit: 2, ms: 6_000, minMbit: 1.8, maxEchoMs: 250 },
  { name: 'change to 50 Mbit/s', mbit: 50, ms: 5_000, minMbit: 45, maxEchoMs: 100 },
  { name: `50 Mbit/s after a freeze of ${FREEZE_MS / 1000} s`, mbit: 50, ms: 4_000, minMbit: 45, maxEchoMs: 100 },
] as const;

interface Phase {
  goodput: number;
  /** From the change to the begin of the first window at the new rate, in ms; undefined: not in this phase. */
  reachedMs: number | undefined;
  ms: number;
  echo: Latency;
}

/** Reads the receiver's counter all the time. */
class Goodput {
  readonly #samples: Sample[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(ends: EchoLink) {
    this.#timer = setInterval(async () => this.#samples.push(await ends.sample('down')), SAMPLE_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** In Mbit/s. */
  between(from: number, to: number): number {
    const inside = this.#samples.filter(({ atMs }) => atMs >= from && atMs <= to);
    const [first, last] = [inside[0], inside.at(-1)];
    return first === undefined || last === undefined ? Number.NaN : mbitPerSecond(rate(first, last));
  }

  /** When a window at this rate first began. */
  firstAt(mbit: number, from: number, to: number): number | undefined {
    const samples = this.#samples.filter(({ atMs }) => atMs >= from && atMs <= to);
    let end = 0;
    for (const begin of samples) {
      while (end < samples.length && (samples[end]?.atMs ?? 0) < begin.atMs + WINDOW_MS) end += 1;
      const last = samples[end];
      if (last === undefined) return undefined;
      if (mbitPerSecond(rate(begin, last)) >= mbit) return begin.atMs;
    }
    return undefined;
  }
}

async function measure(ends: EchoLink, link: Link): Promise<Phase[]> {
  const echoes = new Echoes(await ends.echo(), ECHO_EVERY_MS);
  const goodput = new Goodput(ends);
  const times: { from: number; to: number }[] = [];
  await ends.start('down', BULK_STREAMS);
  for (const [index, { mbit, ms }] of PHASES.entries()) {
    if (index === PHASES.length - 1) {
      await link.freeze();
      await sleep(FREEZE_MS);
      await link.thaw();
    } else {
      await link.set({ rate: bytesPerSecond(mbit) });
    }
    const from = performance.now();
    await sleep(ms);
    times.push({ from, to: performance.now() });
  }
  goodput.stop();
  await echoes.stop();
  return PHASES.map(({ mbit, ms }, index) => {
    const { from = 0, to = 0 } = times[index] ?? {};
    const firstAt = goodput.firstAt(mbit * REACHED, from, to);
    return {
      goodput: goodput.between(from + SETTLE_MS, to),
      reachedMs: firstAt === undefined ? undefined : firstAt - from,
      ms,
      echo: echoes.latency(from + SETTLE_MS, to - SETTLE_MS),
    };
  });
}

interface Measured {
  system: SystemName;
  phases: Phase[];
}

function rows(measured: readonly Measured[]): Row[] {
  return PHASES.flatMap(({ name, mbit, minMbit, maxEchoMs }, index) => {
    const [ours, ...others] = measured.flatMap(({ system, phases }) =>
      phases.slice(index, index + 1).map((phase) => ({ name: system, ...phase })),
    );
    if (ours === undefined) return [];
    const compare = (read: (phase: Phase) => Omit<Other, 'name'>) => ({
      ...read(ours),
      others: others.map((other) => ({ name: other.name, ...read(other) })),
    });
    const reached = {
      figure: `${name}: until ${REACHED * 100} % is reached`,
      unit: 'ms',
      ...compare(({ reachedMs, ms }) => ({ value: reachedMs ?? ms, atLeast: reachedMs === undefined })),
    };
    // A link that got slower is full from the first moment.
    const slower = mbit < (PHASES[index - 1]?.mbit ?? 0);
    return [
      {
        figure: `${name}: goodput from ${SETTLE_MS / 1000} s on`,
        unit: 'Mbit/s',
        ...compare(({ goodput }) => ({ value: goodput })),
        target: `≥ ${minMbit} Mbit/s`,
        held: ours.goodput >= minMbit,
      },
      ...(slower ? [] : [reached]),
      {
        figure: `${name}: echo p99 from ${SETTLE_MS / 1000} s on`,
        unit: 'ms',
        ...compare(({ echo }) => ({ value: echo.p99, atLeast: echo.atLeast })),
        target: `≤ ${maxEchoMs} ms`,
        held: ours.echo.p99 <= maxEchoMs,
      },
    ];
  });
}

export async function changingLink(): Promise<Row[]> {
  const tls = await makeTls();
  const shape = { mbit: PHASES[0].mbit, roundTripMs: ROUND_TRIP_MS };
  const one = async (system: SystemName): Promise<Measured> => ({
    system,
    phases: await overLink(tls, system, shape, measure),
  });
  return rows(await Promise.all(SYSTEMS.map(one)));
}
