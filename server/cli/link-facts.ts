/** What a session has measured, as lines for people. */
import type { LinkDirection, LinkView } from './api-types.ts';
import { bitRate, bytes, duration, millis } from './format.ts';

/** Facts of a host's link; none while it has none. */
export function linkFacts(link: LinkView | null): [name: string, value: string | undefined][] {
  if (link === null) return [];
  const { bytesIn, bytesOut, openStreams, memoryBytes, compressedIn, compressedOut, toAgent, fromAgent } = link;
  const raw = compressedIn.rawBytes + compressedOut.rawBytes;
  const wire = compressedIn.wireBytes + compressedOut.wireBytes;
  return [
    ['Round trip', roundTripText(toAgent) ?? (fromAgent ? roundTripText(fromAgent) : undefined)],
    ['Traffic', `${bytes(bytesIn)} in, ${bytes(bytesOut)} out; ${openStreams} open streams`],
    ['Memory', bytes(memoryBytes)],
    ['Compressed', raw === 0 ? undefined : `${bytes(raw)} to ${bytes(wire)}`],
    ['To the host', directionText(toAgent)],
    ['From the host', fromAgent ? directionText(fromAgent) : undefined],
  ];
}

function roundTripText({ roundTripIdleMs, roundTripMs }: LinkDirection): string | undefined {
  if (roundTripMs === null) return undefined;
  return roundTripIdleMs === null ? millis(roundTripMs) : `idle ${millis(roundTripIdleMs)}, now ${millis(roundTripMs)}`;
}

function directionText(figures: LinkDirection): string {
  const { deliveryBytesPerSecond, inFlightBytes, inFlightLimitBytes, queuedBytes } = figures;
  const { control, interactive, bulk } = queuedBytes;
  const limit = inFlightLimitBytes === null ? '' : ` of ${bytes(inFlightLimitBytes)}`;
  const queued = control + interactive + bulk;
  return [
    ...(deliveryBytesPerSecond === null ? [] : [bitRate(deliveryBytesPerSecond)]),
    `${bytes(inFlightBytes)}${limit} in flight`,
    ...(queued === 0
      ? []
      : [`queued ${bytes(control)} control, ${bytes(interactive)} interactive, ${bytes(bulk)} bulk`]),
    ...waited('credit', figures.creditStarvedMs),
    ...waited('the socket', figures.socketBlockedMs),
  ].join('; ');
}

function waited(what: string, ms: number): string[] {
  if (ms === 0) return [];
  return [`waited ${ms < 1000 ? `${Math.round(ms)} ms` : duration(ms)} for ${what}`];
}
