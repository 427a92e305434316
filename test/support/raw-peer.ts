/** A peer that keeps to no rules: it puts any frame on a connection and keeps what comes back. */
import { decode, encode } from '@msgpack/msgpack';
import { goaway, hello } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { decodeHeader, encodeDataHead, encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import type { MemoryTransport } from './memory-pair.ts';
import { HELLO } from './mux.ts';

export interface RawFrame {
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
  readonly payload: Buffer;
}

export class RawPeer {
  readonly transport: MemoryTransport;
  readonly frames: RawFrame[] = [];

  constructor(transport: MemoryTransport) {
    this.transport = transport;
    transport.attach({
      message: (message) => {
        const header = decodeHeader(message);
        if (header !== undefined) this.frames.push({ ...header, payload: Buffer.from(message.subarray(8)) });
      },
      violation: () => undefined,
      drained: () => undefined,
    });
  }

  /** Any bytes as one message. */
  raw(message: Uint8Array | string): void {
    this.transport.inject(typeof message === 'string' ? Buffer.from(message.replaceAll(' ', ''), 'hex') : message);
  }

  frame(type: number, stream: number, flags: number, value: unknown): void {
    this.raw(encodeFrame(type, stream, flags, encode(value)));
  }

  open(kind: { readonly code: number }, stream: number, value: unknown, flags: number = FLAGS.OPEN | FLAGS.END): void {
    this.frame(kind.code, stream, flags, value);
  }

  data(stream: number, bytes: number, flags = 0): void {
    this.raw(Buffer.concat([encodeDataHead(stream, flags, bytes), Buffer.alloc(bytes)]));
  }

  reset(stream: number): void {
    this.frame(MECHANICS['stream.reset'], stream, 0, { code: 'CANCELLED', message: '' });
  }

  greet(compression?: readonly string[]): void {
    this.frame(hello.code, 0, 0, compression === undefined ? HELLO : { ...HELLO, compression });
  }

  /** The code of the last goaway that came. */
  get goawayCode(): string | undefined {
    const frame = this.frames.findLast((each) => each.stream === 0 && each.type === goaway.code);
    return frame === undefined ? undefined : (decode(frame.payload) as { code: string }).code;
  }

  /** The codes of the resets that came, by stream. */
  get resets(): Map<number, string> {
    const resets = this.frames.filter((each) => each.type === MECHANICS['stream.reset']);
    return new Map(resets.map((each) => [each.stream, (decode(each.payload) as { code: string }).code]));
  }
}
