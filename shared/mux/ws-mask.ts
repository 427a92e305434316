/** The masking of WebSocket payloads (RFC 6455, section 5.3), native where it can be. */
import { randomFillSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { isSea } from 'node:sea';

/** Bytes of a mask. */
export const MASK_BYTES = 4;

type Mask = (source: Uint8Array, mask: Uint8Array, output: Uint8Array, offset: number, length: number) => void;

/** Shorter than this, setting up views of words takes longer than it saves. */
const WORDS_FROM_BYTES = 128;

function maskInScript(source: Uint8Array, mask: Uint8Array, output: Uint8Array, offset: number, length: number): void {
  const from = length < WORDS_FROM_BYTES ? 0 : maskWords(source, mask, output, offset, length);
  for (let index = from; index < length; index += 1) {
    output[offset + index] = (source[index] ?? 0) ^ (mask[index & 3] ?? 0);
  }
}

/** Masks all whole words of four bytes, two to three times as fast as bytes. @returns how many bytes these are */
function maskWords(source: Uint8Array, mask: Uint8Array, output: Uint8Array, offset: number, length: number): number {
  const from = new DataView(source.buffer, source.byteOffset, length);
  const to = new DataView(output.buffer, output.byteOffset + offset, length);
  const word = new DataView(mask.buffer, mask.byteOffset, MASK_BYTES).getInt32(0, true);
  const end = length - (length % MASK_BYTES);
  for (let at = 0; at < end; at += MASK_BYTES) to.setInt32(at, from.getInt32(at, true) ^ word, true);
  return end;
}

/** The native masking of the optional package bufferutil, which is many times faster; it is slower on a few bytes. */
const native = loadNative();
const NATIVE_FROM_BYTES = 48;

function loadNative(): { mask: Mask; unmask: (buffer: Uint8Array, mask: Uint8Array) => void } | undefined {
  // A single executable takes nothing from folders around it, which may be anybody's.
  if (isSea()) return undefined;
  try {
    return createRequire(import.meta.url)('bufferutil') as ReturnType<typeof loadNative>;
  } catch {
    return undefined;
  }
}

/** Unmasks in place. */
export function unmask(buffer: Uint8Array, mask: Uint8Array): void {
  if (native !== undefined && buffer.byteLength >= NATIVE_FROM_BYTES) native.unmask(buffer, mask);
  else maskInScript(buffer, mask, buffer, 0, buffer.byteLength);
}

/** Writes the masked bytes to `output` at `offset`. */
export function applyMask(source: Uint8Array, mask: Uint8Array, output: Uint8Array, offset: number): void {
  const { byteLength } = source;
  if (native !== undefined && byteLength >= NATIVE_FROM_BYTES) native.mask(source, mask, output, offset, byteLength);
  else maskInScript(source, mask, output, offset, byteLength);
}

const MASK_POOL_BYTES = 8 * 1024;
let maskPool: Buffer | undefined;
let maskPoolAt = MASK_POOL_BYTES;

/** Four fresh random bytes; RFC 6455, section 10.3 wants them from a strong source. */
export function nextMask(): Uint8Array {
  maskPool ??= Buffer.allocUnsafeSlow(MASK_POOL_BYTES);
  if (maskPoolAt === MASK_POOL_BYTES) {
    randomFillSync(maskPool);
    maskPoolAt = 0;
  }
  maskPoolAt += MASK_BYTES;
  return maskPool.subarray(maskPoolAt - MASK_BYTES, maskPoolAt);
}

/** The mask as it stands after so many bytes. */
export function rotated(mask: Uint8Array, bytes: number): Uint8Array {
  const by = bytes & 3;
  if (by === 0) return mask;
  return Uint8Array.of(mask[by] ?? 0, mask[(by + 1) & 3] ?? 0, mask[(by + 2) & 3] ?? 0, mask[(by + 3) & 3] ?? 0);
}
