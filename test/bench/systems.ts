/** The systems that are compared over an emulated link, side by side in one run. */

import type { Link } from '../support/link-emulator.ts';
import { startLink } from '../support/link-emulator-process.ts';
import { DEFAULT_WINDOW_BYTES, LARGE_WINDOW_BYTES, openHttp2 } from './links/http2.ts';
import type { EchoLink, Route } from './links/link.ts';
import { openMux } from './links/mux.ts';
import { openRawWs } from './links/raw-ws.ts';
import type { BenchTls } from './tls.ts';

type Open = (tls: BenchTls, route: Route) => Promise<EchoLink>;

export const SYSTEMS = {
  ours: openMux,
  'http2 64 KiB': (tls, route) => openHttp2(tls, route, DEFAULT_WINDOW_BYTES),
  'http2 4 MiB': (tls, route) => openHttp2(tls, route, LARGE_WINDOW_BYTES),
  // Without streams: all bulk is one flow of messages, and an echo waits for its turn among them.
  'raw ws': openRawWs,
} as const satisfies Record<string, Open>;

export type SystemName = keyof typeof SYSTEMS;

/** A link as people speak of it: the same both ways. */
export interface LinkShape {
  mbit: number;
  roundTripMs: number;
}

/** Bytes per second. */
export function bytesPerSecond(mbit: number): number {
  return (mbit * 1e6) / 8;
}

export function mbitPerSecond(bytes: number): number {
  return (bytes * 8) / 1e6;
}

/** Runs `measure` with a system whose ends stand at the two sides of a link; ends, link and measurement each have a process. */
export async function overLink<T>(
  tls: BenchTls,
  system: SystemName,
  { mbit, roundTripMs }: LinkShape,
  measure: (ends: EchoLink, link: Link) => Promise<T>,
): Promise<T> {
  let link: Link | undefined;
  const open: Open = SYSTEMS[system];
  try {
    const ends = await open(tls, async (port) => {
      link = await startLink({ port, rate: bytesPerSecond(mbit), delayMs: roundTripMs / 2 });
      return link.port;
    });
    try {
      if (link === undefined) throw new Error(`${system} did not take the link`);
      return await measure(ends, link);
    } finally {
      await ends.close();
    }
  } finally {
    await link?.close();
  }
}
