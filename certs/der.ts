/** A strict reader of DER (X.690) for bytes that anyone may have sent: no recursion, no copies, no leniency. */
import { FairleadError } from '../shared/errors.ts';

/** The identifier octets that are read here. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The deepest nesting that is taken; certificates and requests need 9. */
const MAX_DEPTH = 16;
/** The longest object identifier that is read as text; those known here have at most 9 bytes. */
const MAX_OID_BYTES = 32;
const CLASS_MASK = 0xc0;
const CONSTRUCTED = 0x20;
const NUMBER_MASK = 0x1f;

/** One element: its identifier octet, its content, and both with the length between them. All are views. */
export interface Element {
  readonly tag: number;
  readonly content: Buffer;
  readonly raw: Buffer;
}

function malformed(why: string): FairleadError {
  return new FairleadError('VALIDATION', why);
}

/** The content's length and where it starts, for the length octets at `offset`. X.690 10.1: definite and minimal. */
function readLength(bytes: Buffer, offset: number): { length: number; start: number } {
  const first = bytes[offset];
  if (first === undefined) throw malformed('it is truncated');
  if (first < 0x80) return { length: first, start: offset + 1 };
  if (first === 0x80) throw malformed('it has an element of indefinite length');
  const count = first & 0x7f;
  if (count > 4) throw malformed('it has an element of absurd length');
  let length = 0;
  for (let index = 1; index <= count; index++) {
    const octet = bytes[offset + index];
    if (octet === undefined) throw malformed('it is truncated');
    length = length * 256 + octet;
  }
  if (length < 0x80 || length < 256 ** (count - 1)) throw malformed('it has a length that is not minimal');
  return { length, start: offset + 1 + count };
}

/** The element that starts at `offset`. */
function readElement(bytes: Buffer, offset: number): Element {
  const tag = bytes[offset];
  if (tag === undefined) throw malformed('it is truncated');
  if ((tag & NUMBER_MASK) === NUMBER_MASK) throw malformed('it has a tag of more than one byte');
  const { length, start } = readLength(bytes, offset + 1);
  const end = start + length;
  if (end > bytes.length) throw malformed('it is truncated');
  checkTag(tag);
  const content = bytes.subarray(start, end);
  checkContent(tag, content);
  return { tag, content, raw: bytes.subarray(offset, end) };
}

/** X.690 10.2: among the universal types only SEQUENCE and SET are constructed, and they always are. */
function checkTag(tag: number): void {
  if ((tag & CLASS_MASK) !== 0) return;
  const number = tag & NUMBER_MASK;
  if (number === 0) throw malformed('it has an element of type 0');
  const structured = number === (TAG.sequence & NUMBER_MASK) || number === (TAG.set & NUMBER_MASK);
  if (structured !== ((tag & CONSTRUCTED) !== 0)) throw malformed('it has an element in the wrong form');
}

function checkContent(tag: number, content: Buffer): void {
  if (tag === TAG.integer && !isMinimalInteger(content)) throw malformed('it has an integer that is not minimal');
  if (tag === TAG.bitString && !isExactBitString(content)) throw malformed('it has a bit string that is not exact');
  if (tag === TAG.oid && !isExactOid(content)) throw malformed('it has an object identifier that is not exact');
  if (tag === TAG.null && content.length !== 0) throw malformed('it has a NULL that is not empty');
  if (tag === TAG.boolean && !(content.length === 1 && (content[0] === 0 || content[0] === 0xff))) {
    throw malformed('it has a boolean that is neither true nor false');
  }
}

/** X.690 8.3.2: the first nine bits are not all alike. */
function isMinimalInteger(content: Buffer): boolean {
  const [first, second] = content;
  if (first === undefined) return false;
  if (second === undefined) return true;
  return !(first === 0 && second < 0x80) && !(first === 0xff && second >= 0x80);
}

/** X.690 11.2.1: unused bits are zero. */
function isExactBitString(content: Buffer): boolean {
  const unused = content[0];
  if (unused === undefined || unused > 7) return false;
  const last = content.length > 1 ? content[content.length - 1] : undefined;
  return last === undefined ? unused === 0 : (last & ((1 << unused) - 1)) === 0;
}

/** X.690 8.19.2: no number starts with padding, and the last one ends. */
function isExactOid(content: Buffer): boolean {
  let starts = true;
  for (const octet of content) {
    if (starts && octet === 0x80) return false;
    starts = octet < 0x80;
  }
  return content.length > 0 && starts;
}

/** The elements that `bytes` consist of, one behind the other. @throws FairleadError VALIDATION */
function readAll(bytes: Buffer): Element[] {
  const elements: Element[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const element = readElement(bytes, offset);
    elements.push(element);
    offset += element.raw.length;
  }
  return elements;
}

/**
 * The one element that `bytes` consist of, after everything within it was found to be DER.
 * @throws FairleadError VALIDATION that says what is wrong
 */
export function readDer(bytes: Buffer): Element {
  const root = readElement(bytes, 0);
  if (root.raw.length !== bytes.length) throw malformed('it has bytes behind its end');
  let level = [root];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) throw malformed('it is nested too deeply');
    level = level.flatMap((element) => ((element.tag & CONSTRUCTED) !== 0 ? readAll(element.content) : []));
  }
  return root;
}

/** What a constructed element with the identifier octet `tag` consists of. @throws FairleadError VALIDATION */
export function children(element: Element | undefined, tag: number): Element[] {
  return readAll(contentOf(element, tag));
}

/** The content of an element with the identifier octet `tag`. @throws FairleadError VALIDATION */
export function contentOf(element: Element | undefined, tag: number): Buffer {
  if (element === undefined) throw malformed('a part of it is missing');
  if (element.tag !== tag) throw malformed('a part of it is of the wrong type');
  return element.content;
}

/** The bytes of a BIT STRING that holds whole bytes. @throws FairleadError VALIDATION */
export function bitStringOf(element: Element | undefined): Buffer {
  const content = contentOf(element, TAG.bitString);
  if (content[0] !== 0) throw malformed('it has a bit string that does not hold whole bytes');
  return content.subarray(1);
}

/** An object identifier in its dotted form. @throws FairleadError VALIDATION */
export function oidOf(element: Element | undefined): string {
  const content = contentOf(element, TAG.oid);
  if (content.length > MAX_OID_BYTES) throw malformed('it has an object identifier that is too long');
  const numbers: bigint[] = [];
  let number = 0n;
  for (const octet of content) {
    number = (number << 7n) | BigInt(octet & 0x7f);
    if (octet >= 0x80) continue;
    numbers.push(number);
    number = 0n;
  }
  const first = numbers.shift() ?? 0n;
  const arc = first < 80n ? first / 40n : 2n;
  return [arc, first - arc * 40n, ...numbers].join('.');
}
