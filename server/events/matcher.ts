/** Which events somebody is to see: by their types, and by what their hosts are now, not when they happened. */
import { type HostScope, includesHost } from '../access/scope.ts';
import type { EventFilter, EventRow } from '../store/events.ts';
import type { HostDirectory, KnownHost } from './host-directory.ts';

/** Whoever follows some types of events is to know of all that are missing. */
const ALWAYS = 'events.gap';

/** What somebody asks for. Within each list any counts, and all lists do. */
export interface EventQuery {
  /** Of whom the asker may know. */
  readonly scope?: HostScope | undefined;
  /** Ids. */
  readonly hosts?: readonly string[] | undefined;
  readonly tags?: readonly string[] | undefined;
  /** As `container.start`, `container` or `container.*`. */
  readonly types?: readonly string[] | undefined;
  /** µs since 1970. */
  readonly sinceMicros?: number | undefined;
  readonly untilMicros?: number | undefined;
}

export class EventMatcher {
  /** The same for the store, which looks at the tags as they are, too. */
  readonly filter: EventFilter;
  readonly #query: EventQuery;
  readonly #scopes: readonly HostScope[];
  readonly #directory: HostDirectory;

  constructor(query: EventQuery, directory: HostDirectory) {
    const { scope, hosts, tags, types, sinceMicros, untilMicros } = query;
    this.#query = query;
    this.#directory = directory;
    this.#scopes = [
      ...(scope === undefined ? [] : [scope]),
      ...(hosts === undefined ? [] : [{ hosts, tags: [] }]),
      ...(tags === undefined ? [] : [{ hosts: [], tags }]),
    ];
    this.filter = {
      ...(hosts?.length === 1 ? { hostId: hosts[0] } : {}),
      scopes: this.#scopes,
      types: types && [...types, ALWAYS],
      sinceMicros,
      untilMicros,
    };
  }

  /** Those of `rows` that fit now. @throws FairleadError STORE_UNAVAILABLE */
  async matching(rows: readonly EventRow[]): Promise<EventRow[]> {
    const fitting = rows.filter((row) => this.#fits(row));
    if (this.#scopes.length === 0) return fitting;
    for (;;) {
      const unknown = new Set(fitting.map(({ hostId }) => hostId ?? '').filter((id) => !this.#isKnown(id)));
      // Nothing may change between the last look and the answer.
      if (unknown.size === 0) return fitting.filter(({ hostId }) => hostId !== undefined && this.#isInAll(hostId));
      for (const id of unknown) await this.#directory.find(id);
    }
  }

  #isKnown(hostId: string): boolean {
    return hostId === '' || this.#directory.has(hostId);
  }

  #isInAll(hostId: string): boolean {
    const host: KnownHost | undefined = this.#directory.peek(hostId);
    // One that was removed has no tags any more, and is in scopes that name it.
    return this.#scopes.every((scope) => includesHost(scope, { id: hostId, tags: host?.tags ?? [] }));
  }

  #fits({ type, timeMicros }: EventRow): boolean {
    const { types, sinceMicros, untilMicros } = this.#query;
    if (sinceMicros !== undefined && timeMicros < sinceMicros) return false;
    if (untilMicros !== undefined && timeMicros >= untilMicros) return false;
    return types === undefined || type === ALWAYS || types.some((wanted) => isOfType(type, wanted));
  }
}

/** Whether `type` is what `wanted` says: the type itself, a family of types, or with a `*` at the end how it begins. */
export function isOfType(type: string, wanted: string): boolean {
  if (wanted.endsWith('*')) return type.startsWith(wanted.slice(0, -1));
  return type === wanted || type.startsWith(`${wanted}.`);
}
