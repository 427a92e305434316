/** The frame codec: an 8-byte big-endian header, and the MessagePack head of a byte chunk. Pure. */
import { MECHANICS } from '../messages/mechanics.ts';

/** `type u16 | stream u32 | flags u16`. */
export const FRAME_HEADER_BYTES = 8;
/** The longest head of a MessagePack `bin`: its type byte and a 4-byte length. */
export const MAX_BIN_HEAD_BYTES = 5;
/** What of a frame must lie in one piece to be read. */
export const MIN_FRAME_START_BYTES = FRAME_HEADER_BYTES + MAX_BIN_HEAD_BYTES;
/** The control channel's stream. */
export const CONTROL_STREAM = 0;
/** The highest stream id that the header can hold. */
export const MAX_STREAM_ID = 0xffff_ffff;

/** Flags by the names they have in PROTOCOL.md. */
export const FLAGS = {
  /** First frame of a stream: its type is the kind, its payload the kind's parameters. */
  OPEN: 0x0001,
  /** The sender's last body frame on the stream: half-close. */
  END: 0x0002,
  /** The value goes on in the next body frame of this stream. */
  MORE: 0x0004,
  /** The payload is compressed. Only on body frames, and only if the greeting agreed on it. */
  DEFLATED: 0x0008,
} as const;

const KNOWN_FLAGS = FLAGS.OPEN | FLAGS.END | FLAGS.MORE | FLAGS.DEFLATED;

export interface FrameHeader {
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
}

function writeHeader(target: Uint8Array, type: number, stream: number, flags: number): void {
  target[0] = type >>> 8;
  target[1] = type;
  target[2] = stream >>> 24;
  target[3] = stream >>> 16;
  target[4] = stream >>> 8;
  target[5] = stream;
  target[6] = flags >>> 8;
  target[7] = flags;
}

/** The 8 bytes of a header. */
export function encodeHeader(type: number, stream: number, flags: number): Uint8Array {
  const head = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  writeHeader(head, type, stream, flags);
  return head;
}

/** What goes before `length` raw bytes in a `stream.data` frame: the frame's header and the head of a MessagePack `bin`. */
export function encodeDataHead(stream: number, flags: number, length: number): Uint8Array {
  const binBytes = length < 0x100 ? 2 : length < 0x1_0000 ? 3 : 5;
  const head = Buffer.allocUnsafe(FRAME_HEADER_BYTES + binBytes);
  writeHeader(head, MECHANICS['stream.data'], stream, flags);
  if (binBytes === 2) {
    head[8] = 0xc4;
    head[9] = length;
  } else if (binBytes === 3) {
    head[8] = 0xc5;
    head[9] = length >>> 8;
    head[10] = length;
  } else {
    head[8] = 0xc6;
    head.writeUInt32BE(length, 9);
  }
  return head;
}

/** The head of a MessagePack `bin` of `length` bytes alone. */
export function binHead(length: number): Uint8Array {
  return encodeDataHead(0, 0, length).subarray(FRAME_HEADER_BYTES);
}

/** A whole frame in one buffer. */
export function encodeFrame(type: number, stream: number, flags: number, payload: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.byteLength);
  writeHeader(frame, type, stream, flags);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

/** The header of a frame, or undefined if the frame is shorter than one. */
export function decodeHeader(frame: Uint8Array): FrameHeader | undefined {
  if (frame.byteLength < FRAME_HEADER_BYTES) return undefined;
  return {
    type: u16(frame, 0),
    stream: u16(frame, 2) * 0x1_0000 + u16(frame, 4),
    flags: u16(frame, 6),
  };
}

/** Whether `flags` holds a bit that this version does not know. */
export function hasUnknownFlags(flags: number): boolean {
  return (flags & ~KNOWN_FLAGS) !== 0;
}

/**
 * Where the bytes start of a MessagePack `bin` that starts at `offset` and fills the rest of a frame of `totalBytes`;
 * undefined if it is none. `frame` may hold only the frame's beginning, if that is at least MIN_FRAME_START_BYTES.
 */
export function binStart(frame: Uint8Array, offset: number, totalBytes: number): number | undefined {
  const type = frame[offset];
  const headBytes = type === 0xc4 ? 2 : type === 0xc5 ? 3 : type === 0xc6 ? 5 : 0;
  const start = offset + headBytes;
  if (headBytes === 0 || start > frame.byteLength) return undefined;
  return binLength(frame, offset + 1, headBytes) === totalBytes - start ? start : undefined;
}

function binLength(frame: Uint8Array, at: number, headBytes: number): number {
  if (headBytes === 2) return frame[at] ?? 0;
  if (headBytes === 3) return u16(frame, at);
  return u16(frame, at) * 0x1_0000 + u16(frame, at + 2);
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
