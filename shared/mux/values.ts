/** Values to MessagePack and back. Both ways pass the structure scan, so that a sender refuses what its peer would. */
import { Decoder, Encoder } from '@msgpack/msgpack';
import { FairleadError } from '../errors.ts';
import { type StructureLimits, structureFault } from './structure.ts';

/** Deeper than any limit on messages: only there to end a value that contains itself. */
const ENCODER_DEPTH = 64;

const encoder = new Encoder({ ignoreUndefined: true, maxDepth: ENCODER_DEPTH });
const decoder = new Decoder();

export interface ValueLimits extends StructureLimits {
  /** The largest encoded value, in bytes. */
  readonly bytes: number;
}

/**
 * Encodes `value`.
 * @param what names the message in the error
 * @throws FairleadError MESSAGE_INVALID if it cannot be encoded or the peer would refuse it
 */
export function encodeValue(value: unknown, limits: ValueLimits, what: string): Uint8Array {
  const bytes = encodeOrThrow(value, what);
  if (bytes.byteLength > limits.bytes) {
    throw new FairleadError(
      'MESSAGE_INVALID',
      `${what} takes ${bytes.byteLength} bytes, and the limit is ${limits.bytes}`,
    );
  }
  const fault = structureFault(bytes, limits);
  if (fault !== undefined) throw new FairleadError('MESSAGE_INVALID', `${what} cannot be sent: ${fault}`);
  return bytes;
}

function encodeOrThrow(value: unknown, what: string): Uint8Array {
  try {
    return encoder.encode(value);
  } catch (cause) {
    throw new FairleadError('MESSAGE_INVALID', `${what} cannot be written as MessagePack`, { cause });
  }
}

/**
 * Decodes exactly one value.
 * @throws FairleadError MESSAGE_INVALID if the structure breaks a limit
 */
export function decodeValue(bytes: Uint8Array, limits: StructureLimits, what: string): unknown {
  const fault = structureFault(bytes, limits);
  if (fault !== undefined) throw new FairleadError('MESSAGE_INVALID', `${what} is not acceptable: ${fault}`);
  return decodeChecked(bytes, what);
}

/** Decodes a value whose structure was found harmless. @throws FairleadError MESSAGE_INVALID */
export function decodeChecked(bytes: Uint8Array, what: string): unknown {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new FairleadError('MESSAGE_INVALID', `${what} is not MessagePack`, { cause });
  }
}
