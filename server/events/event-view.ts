/** An event as it leaves the server, whichever way. */

/** An event as it is kept. */
export interface KeptEvent {
  readonly id: number;
  readonly timeMicros: number;
  readonly hostId?: string | null | undefined;
  readonly host?: string | null | undefined;
  readonly type: string;
  readonly action?: string | null | undefined;
  readonly subject?: string | null | undefined;
  /** JSON of an object of strings. */
  readonly attributes: string;
}

export interface ToldEvent {
  id: number;
  /** RFC 3339, to the microsecond. */
  time: string;
  host: string | null;
  hostId: string | null;
  type: string;
  action: string | null;
  subject: string | null;
  attributes: Record<string, string>;
}

export function eventView(event: KeptEvent): ToldEvent {
  return {
    id: event.id,
    time: instantOf(event.timeMicros),
    host: event.host ?? null,
    hostId: event.hostId ?? null,
    type: event.type,
    action: event.action ?? null,
    subject: event.subject ?? null,
    attributes: JSON.parse(event.attributes),
  };
}

/** What stands where events are missing, with the id of the last one of those. @param now ms since 1970 */
export function gapEvent(
  id: number,
  { reason, from, to }: { readonly reason: string; readonly from: number; readonly to: number },
  now: number,
): KeptEvent {
  const attributes = JSON.stringify({ reason, from: String(from), to: String(to) });
  return { id, timeMicros: now * 1000, type: 'events.gap', attributes };
}

function instantOf(micros: number): string {
  const rest = String(micros % 1000).padStart(3, '0');
  return new Date(Math.floor(micros / 1000)).toISOString().replace('Z', `${rest}Z`);
}
