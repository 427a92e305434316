/** Serial numbers of certificates: how they are made and in which form they are compared. */
import { randomBytes } from 'node:crypto';
import { FairleadError } from '../shared/errors.ts';

const SERIAL_BYTES = 16;
const HEX = /^[0-9a-f]{1,40}$/i;

/**
 * A new serial in its normal form: 32 upper-case hex digits with 126 random bits. The top bit is clear and the next one
 * set, so that the number is positive and its length never varies.
 */
export function newSerial(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex').toUpperCase();
}

/** The normal form of `hex` (upper case, no leading zeros), or undefined if it is not a serial number. */
export function parseSerial(hex: string): string | undefined {
  if (!HEX.test(hex)) return undefined;
  return hex.toUpperCase().replace(/^0+(?=.)/, '');
}

/**
 * The form in which serials are stored and compared: upper-case hex without leading zeros.
 * @throws FairleadError VALIDATION if `hex` is not 1 to 40 hex digits.
 */
export function normalizeSerial(hex: string): string {
  const serial = parseSerial(hex);
  if (serial === undefined) throw new FairleadError('VALIDATION', 'a serial number is 1 to 40 hex digits');
  return serial;
}
