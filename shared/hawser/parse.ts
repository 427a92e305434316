/** Reads Hawser's messages: strict about what they hold, tolerant of what newer versions add, and never beyond its limits. */
import { FairleadError, isFairleadError } from '../errors.ts';
import { fits, validate } from '../validate.ts';
import { type AgentMessage, FROM_AGENT, FROM_SERVER, MAX_DEPTH, type ServerMessage } from './messages.ts';

/** A message, or the name of a type that this version does not know. */
export type Parsed<M> = { readonly message: M } | { readonly unknownType: string };

const MAX_TYPE_CHARS = 64;

/** @throws FairleadError MESSAGE_INVALID, without anything of what the message holds */
export function parseAgentMessage(text: string): Parsed<AgentMessage> {
  return parse(text, FROM_AGENT) as Parsed<AgentMessage>;
}

/** @throws FairleadError MESSAGE_INVALID, without anything of what the message holds */
export function parseServerMessage(text: string): Parsed<ServerMessage> {
  return parse(text, FROM_SERVER) as Parsed<ServerMessage>;
}

function parse(text: string, schemas: typeof FROM_AGENT | typeof FROM_SERVER): Parsed<unknown> {
  const value = readObject(text);
  const { type } = value;
  if (typeof type !== 'string' || type === '' || type.length > MAX_TYPE_CHARS) {
    throw invalid('it has no type');
  }
  if (!Object.hasOwn(schemas, type)) return { unknownType: type };
  const schema = schemas[type as keyof typeof schemas];
  if (fits(schema, value)) return { message: value };
  try {
    return { message: validate(schema, value, `the message ${type}`, 'MESSAGE_INVALID') };
  } catch (error) {
    // A path into a map has its keys in it, which are the sender's.
    if (isFairleadError(error)) throw new FairleadError(error.code, error.message.slice(0, 200));
    throw error;
  }
}

function readObject(text: string): Record<string, unknown> {
  requireShallow(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // What the parser says of it quotes the message, which may hold a token.
    throw invalid('it is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('it is not an object');
  return value as Record<string, unknown>;
}

/** Nesting costs the parser more than bytes do: it is counted before anything is parsed. @throws FairleadError */
function requireShallow(text: string): void {
  // A message of a stream, of which there are many, has one brace.
  if (text.indexOf('{', 1) === -1 && text.indexOf('[', 1) === -1) return;
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (inString) {
      if (char === 0x5c) at++;
      else if (char === 0x22) inString = false;
    } else if (char === 0x22) inString = true;
    else if (char === 0x7b || char === 0x5b) {
      depth++;
      if (depth > MAX_DEPTH) throw invalid(`it is nested deeper than ${MAX_DEPTH} levels`);
    } else if (char === 0x7d || char === 0x5d) depth--;
  }
}

function invalid(why: string): FairleadError {
  return new FairleadError('MESSAGE_INVALID', `a message of the Hawser protocol is not valid: ${why}`);
}

/** The bytes of base64 as Go writes it: the standard alphabet, padded. @throws FairleadError MESSAGE_INVALID */
export function fromBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  // Node drops what is no base64 without a word: then the length does not add up.
  if (text.length % 4 !== 0 || bytes.byteLength !== (text.length / 4) * 3 - padding || /[-_]/.test(text)) {
    throw invalid('its data is not base64');
  }
  return bytes;
}

/** What a message that is not valid is about, if that can be seen: whoever waits for it need not wait for nothing. */
export function idIn(text: string): string | undefined {
  return /"(?:requestId|execId)"\s*:\s*"([\w-]{1,128})"/.exec(text.slice(0, 512))?.[1];
}
