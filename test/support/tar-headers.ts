/** Headers of tars that no writer of tars makes. */
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { type Headers, pack } from 'tar-stream';

const BLOCK = 512;

/** A header of a type that tar-stream does not write. */
export async function headerOf(type: string, size: number): Promise<Buffer> {
  const tar = pack();
  tar.entry({ name: 'd', type: 'directory', size: 0 } as Headers);
  tar.finalize();
  const block = (await buffer(Readable.from(tar))).subarray(0, BLOCK);
  block.write(`${size.toString(8).padStart(11, '0')} `, 124, 'latin1');
  return sealed(block, type);
}

/** A header of a file whose size stands there as `field`, of 12 bytes. */
export async function headerOfSize(field: Buffer): Promise<Buffer> {
  const block = await headerOf('0', 0);
  field.copy(block, 124);
  return sealed(block, '0');
}

function sealed(block: Buffer, type: string): Buffer {
  block.write(type, 156, 'latin1');
  block.write(' '.repeat(8), 148, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')} \0`, 148, 'latin1');
  return block;
}
