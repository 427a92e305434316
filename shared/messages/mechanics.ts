/** Frames that make streams work, whatever their kind. Codes 0x0100 to 0x01ff. */
import Type from 'typebox';
import { MAX_REASON_CHARS } from '../limits.ts';

const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const closed = { additionalProperties: false };

/** Type codes of the frames that every stream may carry, by their names in PROTOCOL.md. */
export const MECHANICS = {
  'stream.data': 0x0100,
  'stream.window': 0x0101,
  'stream.reset': 0x0102,
  'stream.signal': 0x0103,
  'session.ack': 0x0104,
  reply: 0x0105,
  item: 0x0106,
  trailer: 0x0107,
  /** An END with no body of its own. */
  'stream.end': 0x0108,
  'session.ack.frequency': 0x0109,
} as const;

/** `limit`: the offset of body bytes up to which the peer may send on this stream. Absolute, never falls. */
export const WindowValue = Type.Object({ limit: count }, closed);
export const ResetValue = Type.Object(
  { code: Type.String({ maxLength: 64 }), message: Type.String({ maxLength: 4 * MAX_REASON_CHARS }) },
  closed,
);
/**
 * `bytes`: all frame bytes received in this session so far. Absolute, never falls. `at`: when the last of them came, in
 * microseconds by a clock of the receiver's own that never goes back.
 */
export const AckValue = Type.Object({ bytes: count, at: count }, closed);
/** `bytes`: after how many more frame bytes the sender of this wants each next `session.ack`. */
export const AckFrequencyValue = Type.Object({ bytes: count }, closed);
