/**
 * The headers of a site archive's tar, each of which has one way to be written. Programs disagree on anything else: an
 * extended header that one of them applies and another passes over makes other files of the same bytes.
 */
import { posix } from 'node:path';
import { CliError } from '../errors.ts';

export const BLOCK_BYTES = 512;
/** Ends a tar (POSIX.1-2017, pax, ustar interchange format). */
export const END = Buffer.alloc(2 * BLOCK_BYTES);

/** Of all files, in seconds: the year 2000. Not 1970, of which tar says that it is implausible. */
const MTIME_S = Date.UTC(2000) / 1000;
const NAME = { at: 0, bytes: 100 };
const MODE_AT = 100;
const SIZE = { at: 124, digits: 11 };
const CHECKSUM = { at: 148, bytes: 8 };
const TYPE_AT = 156;
const PREFIX = { at: 345, bytes: 155 };
const FILE = '0';
const FOLDER = '5';
const MAX_SIZE = 8 ** SIZE.digits - 1;
/** Printable characters of ASCII, which every program reads alike. */
const PLAIN = /^[\x20-\x7e]+$/;

export interface TarHeader {
  /** Without a slash at its end, also of a folder. */
  readonly path: string;
  readonly isFolder: boolean;
  readonly executable: boolean;
  /** In bytes; 0 of a folder. */
  readonly size: number;
}

/** @throws CliError for what one header does not hold */
export function encodeHeader({ path, isFolder, executable, size }: TarHeader): Buffer {
  const parts = path.split('/');
  if (!PLAIN.test(path) || parts.some((part) => ['', '.', '..'].includes(part))) {
    throw new CliError(`${JSON.stringify(path)} is no path that a site archive can have`);
  }
  if (size > MAX_SIZE) throw new CliError(`${path} is too large for a site archive`);
  const { prefix, name } = split(path);
  const block = Buffer.alloc(BLOCK_BYTES);
  block.write(name, NAME.at, 'latin1');
  const owner = octal(0, 6);
  // Folders can be entered by whoever unpacks them under whatever umask: the server must read them.
  block.write(`${octal(isFolder || executable ? 0o755 : 0o644, 6)}\0${owner}\0${owner}\0`, MODE_AT, 'latin1');
  block.write(octal(size, SIZE.digits) + octal(MTIME_S, 11), SIZE.at, 'latin1');
  block.write(isFolder ? FOLDER : FILE, TYPE_AT, 'latin1');
  block.write('ustar\x0000root', 257, 'latin1');
  block.write('root', 297, 'latin1');
  block.write(`${octal(0, 6)}\0${octal(0, 6)}\0`, 329, 'latin1');
  block.write(prefix, PREFIX.at, 'latin1');
  const blanks = CHECKSUM.bytes * 0x20;
  block.write(
    octal(
      block.reduce((sum, byte) => sum + byte, blanks),
      6,
    ),
    CHECKSUM.at,
    'latin1',
  );
  return block;
}

/** @throws Error for whatever `encodeHeader` would not have written; CliError for a path that it does not take */
export function decodeHeader(block: Buffer): TarHeader {
  const [prefix, name] = [textAt(block, PREFIX), textAt(block, NAME)];
  const path = prefix === '' ? name : `${prefix}/${name}`;
  const type = block.toString('latin1', TYPE_AT, TYPE_AT + 1);
  if (type !== FILE && type !== FOLDER) {
    throw new Error(
      `${JSON.stringify(path)} is neither a file nor a folder, but of tar's type ${JSON.stringify(type)}`,
    );
  }
  const numberAt = (at: number, digits: number) => Number.parseInt(block.toString('latin1', at, at + digits), 8);
  const size = numberAt(SIZE.at, SIZE.digits);
  const executable = numberAt(MODE_AT, 6) === 0o755;
  const isFolder = type === FOLDER;
  const header: TarHeader = { path, isFolder, executable, size: isFolder ? 0 : size };
  if (encodeHeader(header).equals(block)) return header;
  throw new Error(`the header of ${JSON.stringify(path)} is not as Fairlead writes it`);
}

/** The folders above `path` that are not in `stated` yet, outermost first; they are put into it. */
export function foldersToState(path: string, stated: Set<string>): string[] {
  const folder = posix.dirname(path);
  if (folder === '.' || stated.has(folder)) return [];
  const above = foldersToState(folder, stated);
  stated.add(folder);
  return [...above, folder];
}

/** How many zeros follow a content of so many bytes. */
export function paddingOf(size: number): number {
  return -size & (BLOCK_BYTES - 1);
}

/** By code units, since locales differ from machine to machine. */
export function order(a: string, b: string): number {
  return a < b ? -1 : 1;
}

/** As few parts as are needed stand in the prefix. */
function split(path: string): { prefix: string; name: string } {
  let at = -1;
  while (path.length - at - 1 > NAME.bytes) {
    const next = path.indexOf('/', at + 1);
    if (next === -1 || next > PREFIX.bytes) throw new CliError(`${path} is too long a path for a site archive`);
    at = next;
  }
  return at === -1 ? { prefix: '', name: path } : { prefix: path.slice(0, at), name: path.slice(at + 1) };
}

function octal(value: number, digits: number): string {
  return `${value.toString(8).padStart(digits, '0')} `;
}

function textAt(block: Buffer, { at, bytes }: { at: number; bytes: number }): string {
  return block.toString('latin1', at, at + bytes).replace(/\0.*$/s, '');
}
