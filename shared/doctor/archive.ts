/** A few texts as one `.tar.gz`, made in memory. */
import { gzipSync } from 'node:zlib';
import { FairleadError } from '../errors.ts';

const BLOCK_BYTES = 512;
const MAX_NAME_BYTES = 100;
const MODE = '0000600\0';
const NOBODY = '0000000\0';

export interface TextFile {
  /** `doctor.json` */
  readonly name: string;
  readonly text: string;
}

/**
 * @param folder what all files are in
 * @param at their time, ms since 1970
 */
export function archiveOf(folder: string, files: readonly TextFile[], at: number): Buffer {
  const parts = files.flatMap(({ name, text }) => {
    const content = Buffer.from(text);
    const padding = Buffer.alloc((BLOCK_BYTES - (content.length % BLOCK_BYTES)) % BLOCK_BYTES);
    return [headerOf(`${folder}/${name}`, content.length, at), content, padding];
  });
  // Two empty blocks are its end.
  return gzipSync(Buffer.concat([...parts, Buffer.alloc(2 * BLOCK_BYTES)]));
}

/** A header of the ustar format. */
function headerOf(name: string, bytes: number, at: number): Buffer {
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) throw new FairleadError('VALIDATION', `the name ${name} is too long`);
  const header = Buffer.alloc(BLOCK_BYTES);
  const put = (text: string, offset: number) => void header.write(text, offset, 'utf8');
  put(name, 0);
  put(MODE, 100);
  put(NOBODY, 108);
  put(NOBODY, 116);
  put(`${octal(bytes, 11)}\0`, 124);
  put(`${octal(Math.floor(at / 1000), 11)}\0`, 136);
  // The sum is counted with spaces in its own place.
  put(' '.repeat(8), 148);
  put('0', 156);
  put('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(`${octal(sum, 6)}\0 `, 148);
  return header;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}
