/** Error answers of Docker as FairleadErrors that keep its own words. */
import { type ErrorCode, FairleadError } from '../errors.ts';

/** The longest text that is taken over from Docker, in characters. */
const MAX_DOCKER_TEXT_CHARS = 900;

const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [400, 'VALIDATION'],
  // Docker's word for what its own state forbids: to remove a network of its own, for one, or to connect a container twice.
  [403, 'CONFLICT'],
  [409, 'CONFLICT'],
  [501, 'UNSUPPORTED'],
]);

/** The FairleadError for an error answer of Docker's; `body` is what it sent. */
export function answerFailure(status: number, body: string): FairleadError {
  const text = dockerText(body) || `HTTP status ${status}`;
  if (status !== 404) return new FairleadError(CODES.get(status) ?? 'DOCKER_ERROR', text);
  // A start answers 404 for a missing network or image too.
  return new FairleadError(/no such container/i.test(text) ? 'CONTAINER_NOT_FOUND' : 'NOT_FOUND', text);
}

function dockerText(body: string): string {
  let text = body;
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === 'object' && value !== null && 'message' in value) text = String(value.message);
  } catch {
    // Not JSON: proxies before Docker and the oldest versions answer with plain text.
  }
  text = text.trim();
  return text.length > MAX_DOCKER_TEXT_CHARS ? `${text.slice(0, MAX_DOCKER_TEXT_CHARS)}…` : text;
}
