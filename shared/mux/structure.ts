/** Reads the structure of MessagePack before it is decoded: the decoder alone can be made to exhaust the process. Pure. */

export interface StructureLimits {
  /** The deepest nesting of maps and arrays; a map that holds only scalars is 1 deep. */
  readonly depth: number;
  /** The most values, map keys included. */
  readonly nodes: number;
}

const PROTO = [...'__proto__'].map((char) => char.charCodeAt(0));

/** How a type byte goes on: a scalar of fixed size, a length of so many bytes, or a container. */
type Shape =
  | { readonly kind: 'fixed'; readonly bytes: number }
  | { readonly kind: 'sized'; readonly lengthBytes: number; readonly text: boolean }
  | { readonly kind: 'array' | 'map'; readonly lengthBytes: number }
  | { readonly kind: 'refused'; readonly what: string };

/** The types from 0xc0 to 0xdf; the rest carry their value or length in the type byte itself. */
const SHAPES: readonly Shape[] = [
  { kind: 'fixed', bytes: 0 }, // c0 nil
  { kind: 'refused', what: 'the type 0xc1, which MessagePack never uses' },
  { kind: 'fixed', bytes: 0 }, // c2 false
  { kind: 'fixed', bytes: 0 }, // c3 true
  // One value, however large, that becomes many times its size as JSON. Bytes travel as stream.data.
  ...Array.from({ length: 3 }, (): Shape => ({ kind: 'refused', what: 'binary data' })), // c4 to c6
  ...Array.from({ length: 3 }, (): Shape => ({ kind: 'refused', what: 'an extension type' })), // c7 to c9
  { kind: 'fixed', bytes: 4 }, // ca float 32
  { kind: 'fixed', bytes: 8 }, // cb float 64
  { kind: 'fixed', bytes: 1 }, // cc to cf: unsigned integers
  { kind: 'fixed', bytes: 2 },
  { kind: 'fixed', bytes: 4 },
  { kind: 'fixed', bytes: 8 },
  { kind: 'fixed', bytes: 1 }, // d0 to d3: signed integers
  { kind: 'fixed', bytes: 2 },
  { kind: 'fixed', bytes: 4 },
  { kind: 'fixed', bytes: 8 },
  ...Array.from({ length: 5 }, (): Shape => ({ kind: 'refused', what: 'an extension type' })), // d4 to d8
  { kind: 'sized', lengthBytes: 1, text: true }, // d9 str 8
  { kind: 'sized', lengthBytes: 2, text: true }, // da str 16
  { kind: 'sized', lengthBytes: 4, text: true }, // db str 32
  { kind: 'array', lengthBytes: 2 }, // dc
  { kind: 'array', lengthBytes: 4 }, // dd
  { kind: 'map', lengthBytes: 2 }, // de
  { kind: 'map', lengthBytes: 4 }, // df
];

/**
 * Why `bytes` must not be decoded, or undefined if they are exactly one MessagePack value within the limits.
 * Allocates nothing that grows with what the bytes claim, and takes time in proportion to their length at most.
 */
export function structureFault(bytes: Uint8Array, limits: StructureLimits): string | undefined {
  /** Values still to come at each level of nesting; a map counts keys and values. */
  const left: number[] = [1];
  /** Whether each level is a map: there every even count left means that a key comes next. */
  const maps: boolean[] = [false];
  let at = 0;
  let nodes = 0;
  while (left.length > 0) {
    const level = left.length - 1;
    const remaining = left[level] ?? 0;
    if (remaining === 0) {
      left.pop();
      maps.pop();
      continue;
    }
    if (at >= bytes.byteLength) return 'it ends inside a value';
    nodes += 1;
    if (nodes > limits.nodes) return `it holds more than ${limits.nodes} values`;
    left[level] = remaining - 1;
    const isKey = maps[level] === true && remaining % 2 === 0;
    const item = readHead(bytes, at);
    if (typeof item === 'string') return item;
    const fault = isKey ? keyFault(bytes, item) : undefined;
    if (fault !== undefined) return fault;
    at = item.next;
    if (item.count === undefined) continue;
    if (left.length > limits.depth) return `it nests deeper than ${limits.depth}`;
    // Every value takes at least one byte: a count beyond what is left is a lie, whatever the limit on values.
    if (item.count > bytes.byteLength - at) return 'it announces more values than it has bytes';
    left.push(item.count);
    maps.push(item.map);
  }
  return at === bytes.byteLength ? undefined : 'bytes follow the value';
}

/** One value's head: where the next value starts, and, for a container, how many values it holds. */
interface Head {
  readonly next: number;
  readonly text: boolean;
  /** Where the bytes of a string start. */
  readonly start: number;
  readonly count?: number;
  readonly map: boolean;
}

function readHead(bytes: Uint8Array, at: number): Head | string {
  const type = bytes[at] ?? 0xc1;
  const body = at + 1;
  if (type < 0x80 || type >= 0xe0) return scalar(bytes, body, 0, false);
  if (type < 0x90) return { next: body, start: body, text: false, count: 2 * (type & 0x0f), map: true };
  if (type < 0xa0) return { next: body, start: body, text: false, count: type & 0x0f, map: false };
  if (type < 0xc0) return scalar(bytes, body, type & 0x1f, true);
  const shape = SHAPES[type - 0xc0] ?? { kind: 'refused', what: 'an unknown type' };
  if (shape.kind === 'refused') return `it holds ${shape.what}`;
  if (shape.kind === 'fixed') return scalar(bytes, body, shape.bytes, false);
  if (body + shape.lengthBytes > bytes.byteLength) return 'it ends inside a length';
  const length = readLength(bytes, body, shape.lengthBytes);
  const start = body + shape.lengthBytes;
  if (shape.kind === 'sized') return scalar(bytes, start, length, shape.text);
  const map = shape.kind === 'map';
  return { next: start, start, text: false, count: map ? 2 * length : length, map };
}

function scalar(bytes: Uint8Array, start: number, length: number, text: boolean): Head | string {
  if (length > bytes.byteLength - start) return 'it ends inside a value';
  return { next: start + length, start, text, map: false };
}

function readLength(bytes: Uint8Array, at: number, size: number): number {
  let length = 0;
  for (let index = at; index < at + size; index += 1) length = length * 0x100 + (bytes[index] ?? 0);
  return length;
}

function keyFault(bytes: Uint8Array, key: Head): string | undefined {
  if (!key.text) return 'a map key is no string';
  if (key.next - key.start !== PROTO.length) return undefined;
  return PROTO.every((char, index) => bytes[key.start + index] === char) ? 'a map key is __proto__' : undefined;
}
