/** Docker's events in the form in which they leave the host: its own words, trimmed to limits. */

import {
  type HostEvent,
  MAX_ATTRIBUTE_CHARS,
  MAX_ATTRIBUTE_NAME_CHARS,
  MAX_EVENT_ACTION_CHARS,
  MAX_EVENT_ATTRIBUTES,
  MAX_EVENT_ID_CHARS,
  MAX_EVENT_NANOS,
} from '../messages/host-events.ts';
import type { DockerObject } from './json.ts';

const TYPE = /^[a-z][a-z0-9-]{0,31}$/;
/** What is kept of an event's attributes before anything else: the others are mostly labels. */
const FIRST = [
  'name',
  'image',
  'exitCode',
  'signal',
  'execID',
  'container',
  'driver',
  'type',
  'destination',
  'oldName',
];

/** One of Docker's events; undefined for what is none. */
export function toHostEvent(sent: DockerObject): HostEvent | undefined {
  const actor = objectOr(sent['Actor']);
  const type = textOf(sent['Type']).toLowerCase();
  const action = cut(textOf(sent['Action']) || textOf(sent['status']), MAX_EVENT_ACTION_CHARS);
  const timeNano = nanosOf(sent);
  if (!TYPE.test(type) || action === '' || timeNano === undefined) return undefined;
  const id = cut(textOf(actor['ID']) || textOf(sent['id']), MAX_EVENT_ID_CHARS);
  return { type, action, id, attributes: attributesOf(objectOr(actor['Attributes'])), timeNano };
}

function nanosOf({ timeNano, time }: DockerObject): number | undefined {
  const nanos = typeof timeNano === 'number' ? timeNano : typeof time === 'number' ? time * 1e9 : Number.NaN;
  return nanos >= 0 && nanos <= MAX_EVENT_NANOS ? nanos : undefined;
}

function attributesOf(sent: DockerObject): Record<string, string> {
  const names = [...FIRST.filter((name) => Object.hasOwn(sent, name)), ...Object.keys(sent)];
  const attributes: Record<string, string> = {};
  let count = 0;
  for (const name of new Set(names)) {
    const value = sent[name];
    if (count === MAX_EVENT_ATTRIBUTES) break;
    if (name.length > MAX_ATTRIBUTE_NAME_CHARS || !name.isWellFormed()) continue;
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') continue;
    attributes[name] = cut(String(value), MAX_ATTRIBUTE_CHARS);
    count += 1;
  }
  return attributes;
}

/** The first characters of `text`, none of them half of one. */
function cut(text: string, max: number): string {
  return text.slice(0, max).toWellFormed();
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function objectOr(value: unknown): DockerObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as DockerObject) : {};
}
