/** Events that the server has not taken yet: so many and no more, and what had no room is counted where it is missing. */
import { type HostEvent, MAX_EVENTS_OF_REPLY } from '../messages/host-events.ts';
import { ownEvent } from './follow-events.ts';

/** What waits at most, in events and in characters of them. */
export const MAX_WAITING_EVENTS = 4096;
const MAX_WAITING_CHARS = 2 * 1024 * 1024;
/** Where events had no room while nobody forgets any, one event says so for each time that some were given away; at most. */
const MOST_WITH_GAPS = MAX_WAITING_EVENTS + 64;
/** From this part on there is no room for the noise that health checks make. */
const NOISE_PART = 0.75;
/** What one reply takes, in characters. */
const MAX_REPLY_CHARS = 128 * 1024;

interface Waiting {
  readonly seq: number;
  readonly event: HostEvent;
  readonly chars: number;
}

/** What one reply has. */
export interface EventBatch {
  /** The number of the last one in it, or what was asked for if there is none. */
  readonly last: number;
  readonly events: HostEvent[];
}

export class EventQueue {
  readonly #now: () => number;
  #waiting: Waiting[] = [];
  #chars = 0;
  #lastSeq = 0;
  /** Of what was given away: what it says must not change any more. */
  #givenSeq = 0;
  /** Events that had no room, behind the last one that had. */
  #dropped = 0;

  /** @param now ms since 1970 */
  constructor(now: () => number) {
    this.#now = now;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** The number of the last event that was added. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** Adds an event, or counts it where there is no room. */
  push(event: HostEvent): void {
    const part = Math.max(this.#waiting.length / MAX_WAITING_EVENTS, this.#chars / MAX_WAITING_CHARS);
    if (part >= (isNoise(event) ? NOISE_PART : 1)) this.#drop();
    else this.#add(event);
  }

  /** Forgets the events up to `seq`. */
  forget(seq: number): void {
    const kept = this.#waiting.findIndex((one) => one.seq > seq);
    const gone = this.#waiting.splice(0, kept === -1 ? this.#waiting.length : kept);
    for (const { chars } of gone) this.#chars -= chars;
  }

  /** The first events behind `seq`; they stay until they are forgotten. */
  behind(seq: number): EventBatch {
    const events: HostEvent[] = [];
    let last = seq;
    let chars = 0;
    for (const one of this.#waiting) {
      if (one.seq <= seq) continue;
      if (events.length === MAX_EVENTS_OF_REPLY || (chars > 0 && chars + one.chars > MAX_REPLY_CHARS)) break;
      events.push(one.event);
      last = one.seq;
      chars += one.chars;
    }
    this.#givenSeq = Math.max(this.#givenSeq, last);
    return { last, events };
  }

  #add(event: HostEvent): void {
    this.#dropped = 0;
    this.#append(event);
  }

  /** One event stands for all that are missing in one place. */
  #drop(): void {
    const tail = this.#waiting.at(-1);
    const isOpen = tail !== undefined && (tail.seq > this.#givenSeq || this.#waiting.length >= MOST_WITH_GAPS);
    if (this.#dropped > 0 && isOpen) {
      this.#waiting.pop();
      this.#chars -= tail.chars;
      this.#lastSeq -= 1;
    } else this.#dropped = 0;
    this.#dropped += 1;
    this.#append(ownEvent('events', 'gap', { reason: 'overload', dropped: String(this.#dropped) }, this.#now()));
  }

  #append(event: HostEvent): void {
    this.#lastSeq += 1;
    const chars = charsOf(event);
    this.#waiting.push({ seq: this.#lastSeq, event, chars });
    this.#chars += chars;
  }
}

/** Execs, which health checks begin and end all the time. */
function isNoise({ action }: HostEvent): boolean {
  return action.startsWith('exec_');
}

function charsOf({ action, id, attributes }: HostEvent): number {
  let chars = 64 + action.length + id.length;
  for (const [name, value] of Object.entries(attributes)) chars += name.length + value.length;
  return chars;
}
