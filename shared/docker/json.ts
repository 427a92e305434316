/** Docker's JSON read with limits and without keys that could act on an object's prototype. */
import type { Readable } from 'node:stream';
import { FairleadError } from '../errors.ts';
import { Gathered } from '../gathered.ts';

/** An object as Docker sent it. */
export type DockerObject = Record<string, unknown>;

const LF = 0x0a;

/**
 * Parses JSON and drops every `__proto__` key: anyone who may set a label can write one, and the mux refuses them.
 * @throws FairleadError DOCKER_ERROR
 */
export function parseDockerJson(text: string): unknown {
  // An escape may spell the key too; without either the plain parse is twice as fast.
  const suspicious = text.includes('__proto__') || text.includes('\\u');
  try {
    return suspicious
      ? JSON.parse(text, (key, value: unknown) => (key === '__proto__' ? undefined : value))
      : JSON.parse(text);
  } catch (error) {
    throw new FairleadError('DOCKER_ERROR', 'Docker answered with something that is not JSON', { cause: error });
  }
}

/** `value` as an object. @throws FairleadError DOCKER_ERROR */
export function asObject(value: unknown): DockerObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as DockerObject;
  throw new FairleadError('DOCKER_ERROR', 'Docker answered with something that is not an object');
}

/** `value` as a list of objects. @throws FairleadError DOCKER_ERROR */
export function asObjects(value: unknown): DockerObject[] {
  if (!Array.isArray(value))
    throw new FairleadError('DOCKER_ERROR', 'Docker answered with something that is not a list');
  return value.map(asObject);
}

/** The texts in a list of Docker's; what is none of both is left out, as it is when there is nothing to list. */
export function asTexts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
}

/** A count of Docker's; 0 for anything else. */
export function asCount(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

/**
 * Reads `body` to its end.
 * @throws FairleadError DOCKER_ERROR beyond `maxBytes`; what the stream fails with
 */
export async function readText(body: Readable, maxBytes: number): Promise<string> {
  const gathered = new Gathered(maxBytes);
  for await (const chunk of body as AsyncIterable<Buffer>) {
    if (!gathered.add(chunk)) {
      throw new FairleadError('DOCKER_ERROR', `Docker's answer is larger than ${maxBytes} bytes`);
    }
  }
  return gathered.bytes().toString();
}

/**
 * The objects of a body with one JSON object per line, as they come.
 * @throws FairleadError DOCKER_ERROR for a line beyond `maxLineBytes`; what the stream fails with
 */
export async function* jsonLines(body: Readable, maxLineBytes: number): AsyncGenerator<DockerObject> {
  const begun = new Gathered(maxLineBytes);
  const add = (piece: Buffer) => {
    if (begun.add(piece)) return;
    throw new FairleadError('DOCKER_ERROR', `a line of Docker's is larger than ${maxLineBytes} bytes`);
  };
  for await (const chunk of body as AsyncIterable<Buffer>) {
    let at = 0;
    for (let lf = chunk.indexOf(LF); lf !== -1; lf = chunk.indexOf(LF, at)) {
      add(chunk.subarray(at, lf));
      const line = begun.bytes().toString().trim();
      begun.clear();
      at = lf + 1;
      if (line !== '') yield asObject(parseDockerJson(line));
    }
    add(chunk.subarray(at));
  }
  const rest = begun.bytes().toString().trim();
  if (rest !== '') yield asObject(parseDockerJson(rest));
}
