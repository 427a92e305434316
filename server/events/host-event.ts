/** Events as agents send them, as they are kept. */
import { type EventMark, microsOf } from '../../shared/docker/events.ts';
import type { HostEvent } from '../../shared/messages/host-events.ts';
import { redactText } from '../audit/redact.ts';
import type { EventRow, NewEvent } from '../store/events.ts';

/** What agents say of their own accord; nothing else of these types. */
const AGENTS = new Set(['docker.reachable', 'docker.unreachable', 'events.gap']);
/** Families of types that are the server's to speak of, and those above. */
const NOT_DOCKERS: ReadonlySet<string> = new Set([
  ...['host', 'certificate', 'session', 'upgrade', 'rollout'],
  ...['docker', 'events'],
]);
const MAX_WORD_CHARS = 64;

/** An event as it is kept; undefined for one that only the server may tell of. */
export function fromAgent(
  event: HostEvent,
  { hostId, host }: { hostId: string; host: string | undefined },
): NewEvent | undefined {
  const action = actionOf(event);
  const type = `${event.type}.${wordOf(action)}`;
  if (!isDockers(event.type) && !AGENTS.has(type)) return undefined;
  return {
    timeMicros: microsOf(event.timeNano),
    hostId,
    host,
    type,
    action: type === `${event.type}.${action}` ? undefined : action,
    subject: event.id === '' ? undefined : event.id,
    attributes: JSON.stringify(event.attributes),
  };
}

/** Whether a type, or its family, is one that Docker speaks of. */
export function isDockers(type: string): boolean {
  return !NOT_DOCKERS.has(type.split('.', 1)[0] ?? '');
}

export function markOf(event: HostEvent): EventMark {
  const { type, id, timeNano } = event;
  return { type, action: actionOf(event), id, timeMicros: microsOf(timeNano) };
}

/** Docker's own word; what it has of a command line, without what is written there as a secret. */
function actionOf({ action }: HostEvent): string {
  return action.includes(' ') ? redactText(action) : action;
}

/** The mark that the event had on its host. */
export function markOfRow({ type, action, subject = '', timeMicros }: EventRow): EventMark {
  const dot = type.indexOf('.');
  return { type: type.slice(0, dot), action: action ?? type.slice(dot + 1), id: subject, timeMicros };
}

/** Docker's word for what happened, without what it says besides: `exec_create: sh`, `health_status: healthy`. */
function wordOf(action: string): string {
  const [word = ''] = action.split(/[:\s]/, 1);
  return (
    word
      .toLowerCase()
      .replace(/[^a-z0-9_-]/g, '-')
      .slice(0, MAX_WORD_CHARS) || 'unknown'
  );
}
