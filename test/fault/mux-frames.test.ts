/** Frames that break the protocol: each ends its own session, with the right code, and nothing else. */
import { describe, test } from 'node:test';
import type { ErrorCode } from '../../shared/errors.ts';
import {
  MAX_FRAME_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_MESSAGE_DEPTH,
  MAX_MESSAGE_NODES,
  MAX_SIGNAL_BYTES,
} from '../../shared/limits.ts';
import { goaway, heartbeat, heartbeatAck, hello, ping, pong, welcome } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { FLAGS } from '../../shared/mux/frame.ts';
import { anyKind, callKind, HELLO, pipeKind, serverOnlyKind } from '../support/mux.ts';
import { attack, frame, type OpenIds, pack, type Victim } from '../support/mux-faults.ts';

interface Fault {
  readonly what: string;
  readonly code: ErrorCode;
  readonly frames: (ids: OpenIds) => Uint8Array[];
  /** Only one end can be attacked like this. */
  readonly victim?: Victim;
}

const { OPEN, END, MORE, DEFLATED } = FLAGS;
const DATA = MECHANICS['stream.data'];
const WINDOW = MECHANICS['stream.window'];
const RESET = MECHANICS['stream.reset'];
const SIGNAL = MECHANICS['stream.signal'];
const ACK = MECHANICS['session.ack'];
const ACK_FREQUENCY = MECHANICS['session.ack.frequency'];
const STREAM_END = MECHANICS['stream.end'];
const { reply, item, trailer } = MECHANICS;
const EMPTY_MAP = pack({});
const chunk = pack(new Uint8Array([1, 2, 3]));

function protocolError(what: string, frames: Fault['frames'], victim?: Victim): Fault {
  return { what, code: 'PROTOCOL_ERROR', frames, ...(victim === undefined ? {} : { victim }) };
}

function invalid(what: string, frames: Fault['frames']): Fault {
  return { what, code: 'MESSAGE_INVALID', frames };
}

const HEADERS: Fault[] = [
  protocolError('an empty message', () => [new Uint8Array(0)]),
  protocolError('one byte', () => [new Uint8Array(1)]),
  protocolError('a header that is cut short', () => [frame(ping.code, 0).subarray(0, 7)]),
  ...Array.from({ length: 12 }, (_, bit) =>
    protocolError(`the unknown flag ${0x10 << bit}`, ({ theirs }) => [frame(DATA, theirs.pipe, 0x10 << bit, chunk)]),
  ),
  protocolError('all flags at once', ({ next }) => [frame(pipeKind.code, next, 0xffff, EMPTY_MAP)]),
  protocolError('DEFLATED on bytes', ({ theirs }) => [frame(DATA, theirs.pipe, DEFLATED, chunk)]),
  protocolError('DEFLATED on an OPEN', ({ next }) => [frame(pipeKind.code, next, OPEN | DEFLATED, EMPTY_MAP)]),
  protocolError('DEFLATED on stream 0', () => [frame(ping.code, 0, DEFLATED, pack({ id: 1 }))]),
  ...[OPEN, END, MORE].map((flag) =>
    protocolError(`flag ${flag} on stream 0`, () => [frame(ping.code, 0, flag, pack({ id: 1 }))]),
  ),
  ...[WINDOW, RESET, SIGNAL].map((type) =>
    protocolError(`END on type ${type}`, ({ theirs }) => [frame(type, theirs.exec, END, pack({ limit: 1 << 20 }))]),
  ),
];

const TYPES: Fault[] = [
  ...[0, 0x00ff, 0x6fff, 0xffff, DATA, reply, WINDOW, pipeKind.code].map((type) =>
    protocolError(`type ${type} on stream 0`, () => [frame(type, 0, 0, EMPTY_MAP)]),
  ),
  ...[0, 0x00ff, 0x01ff, 0xffff, ping.code, goaway.code, ACK, pipeKind.code].map((type) =>
    protocolError(`type ${type} on an open stream`, ({ theirs }) => [frame(type, theirs.pipe, 0, EMPTY_MAP)]),
  ),
  ...[0, 0x00ff, 0xffff, ping.code, DATA, reply].map((type) =>
    protocolError(`type ${type} in an OPEN`, ({ next }) => [frame(type, next, OPEN | END, EMPTY_MAP)]),
  ),
  protocolError('a hello from the server', () => [frame(hello.code, 0, 0, pack(HELLO))], 'agent'),
  protocolError('a second hello', () => [frame(hello.code, 0, 0, pack(HELLO))], 'server'),
  protocolError('a welcome from the agent', () => [frame(welcome.code, 0, 0, EMPTY_MAP)], 'server'),
  protocolError('a second welcome', () => [frame(welcome.code, 0, 0, EMPTY_MAP)], 'agent'),
  protocolError('a heartbeat from the server', () => [frame(heartbeat.code, 0, 0, EMPTY_MAP)], 'agent'),
  protocolError('a heartbeat.ack from the agent', () => [frame(heartbeatAck.code, 0, 0, EMPTY_MAP)], 'server'),
  protocolError(
    'a kind of the server that the agent opens',
    ({ next }) => [frame(serverOnlyKind.code, next, OPEN | END, pack({ text: '' }))],
    'server',
  ),
];

const IDS: Fault[] = [
  protocolError('an OPEN with an id of the other end', ({ foreign }) => [
    frame(pipeKind.code, foreign, OPEN, EMPTY_MAP),
  ]),
  protocolError('an OPEN with an open id', ({ theirs }) => [frame(pipeKind.code, theirs.pipe, OPEN, EMPTY_MAP)]),
  protocolError('an OPEN below the highest id', ({ next }) => [
    frame(pipeKind.code, next + 8, OPEN, EMPTY_MAP),
    frame(pipeKind.code, next, OPEN, EMPTY_MAP),
  ]),
  protocolError('an OPEN after the highest id of all', ({ next }) => [
    frame(pipeKind.code, 0xffff_fffe + (next % 2), OPEN, EMPTY_MAP),
    frame(pipeKind.code, next, OPEN, EMPTY_MAP),
  ]),
  ...[DATA, WINDOW, RESET, SIGNAL, reply, item, trailer, STREAM_END].flatMap((type) => [
    protocolError(`type ${type} for a stream that was never opened`, ({ next }) => [frame(type, next, 0, EMPTY_MAP)]),
    protocolError(`type ${type} for a stream that the victim never opened`, ({ foreign }) => [
      frame(type, foreign, 0, EMPTY_MAP),
    ]),
  ]),
  protocolError('a frame between ids that were skipped', ({ next }) => [
    frame(pipeKind.code, next + 8, OPEN, EMPTY_MAP),
    frame(DATA, next + 80, 0, chunk),
  ]),
];

const ORDER: Fault[] = [
  protocolError('an OPEN with MORE', ({ next }) => [frame(pipeKind.code, next, OPEN | MORE, EMPTY_MAP)]),
  protocolError('an OPEN without END where the opener sends nothing', ({ next }) => [
    frame(callKind.code, next, OPEN, pack({ text: '' })),
  ]),
  protocolError('an OPEN with END where the opener sends bytes', ({ next }) => [
    frame(pipeKind.code, next, OPEN | END, EMPTY_MAP),
  ]),
  protocolError('bytes on a kind without', ({ theirs }) => [frame(DATA, theirs.list, 0, chunk)]),
  protocolError('bytes from the acceptor of a kind without', ({ mine }) => [frame(DATA, mine.list, 0, chunk)]),
  protocolError('bytes before the reply', ({ mine }) => [frame(DATA, mine.log, 0, chunk)]),
  protocolError('an item before the reply', ({ mine }) => [frame(item, mine.call, 0, EMPTY_MAP)]),
  protocolError('END before the reply', ({ mine }) => [frame(STREAM_END, mine.log, END)]),
  protocolError('END inside a reply', ({ mine }) => [
    frame(reply, mine.log, MORE, EMPTY_MAP),
    frame(STREAM_END, mine.log, END),
  ]),
  protocolError('bytes with MORE', ({ theirs }) => [frame(DATA, theirs.pipe, MORE, chunk)]),
  protocolError('a message with MORE and END', ({ mine }) => [frame(item, mine.list, MORE | END, EMPTY_MAP)]),
  protocolError('a second reply', ({ mine }) => [frame(reply, mine.pipe, 0, EMPTY_MAP)]),
  protocolError('bytes after END', ({ theirs }) => [
    frame(DATA, theirs.pipe, END, chunk),
    frame(DATA, theirs.pipe, 0, chunk),
  ]),
  protocolError('END after END', ({ theirs }) => [
    frame(STREAM_END, theirs.pipe, END),
    frame(STREAM_END, theirs.pipe, END),
  ]),
  protocolError('END after the END of an OPEN', ({ theirs }) => [frame(STREAM_END, theirs.call, END)]),
  protocolError('an end frame without END', ({ theirs }) => [frame(STREAM_END, theirs.pipe)]),
  protocolError('an end frame with MORE', ({ theirs }) => [frame(STREAM_END, theirs.pipe, END | MORE)]),
  protocolError('an end frame with a payload', ({ theirs }) => [frame(STREAM_END, theirs.pipe, END, EMPTY_MAP)]),
  ...[reply, item, trailer].map((type) =>
    protocolError(`message type ${type} from the opener`, ({ theirs }) => [frame(type, theirs.exec, 0, EMPTY_MAP)]),
  ),
  protocolError('an item on a kind without', ({ mine }) => [frame(item, mine.pipe, 0, EMPTY_MAP)]),
  protocolError('a trailer on a kind without', ({ mine }) => [frame(trailer, mine.list, 0, EMPTY_MAP)]),
  protocolError('END without the trailer', ({ mine }) => [frame(STREAM_END, mine.exec, END)]),
  protocolError('bytes with END without the trailer', ({ mine }) => [frame(DATA, mine.exec, END, chunk)]),
  protocolError('bytes after the trailer', ({ mine }) => [
    frame(trailer, mine.exec, 0, pack({ code: 0 })),
    frame(DATA, mine.exec, 0, chunk),
  ]),
  protocolError('a second trailer', ({ mine }) => [
    frame(trailer, mine.exec, 0, pack({ code: 0 })),
    frame(trailer, mine.exec, END, pack({ code: 0 })),
  ]),
  protocolError('END inside an item', ({ mine }) => [
    frame(item, mine.list, MORE, EMPTY_MAP),
    frame(STREAM_END, mine.list, END),
  ]),
  protocolError('bytes inside a trailer', ({ mine }) => [
    frame(trailer, mine.exec, MORE, EMPTY_MAP),
    frame(DATA, mine.exec, 0, chunk),
  ]),
  protocolError('a trailer inside an item', ({ mine }) => [
    frame(item, mine.list, MORE, EMPTY_MAP),
    frame(trailer, mine.list, 0, EMPTY_MAP),
  ]),
  protocolError('a signal on a kind without', ({ theirs }) => [frame(SIGNAL, theirs.pipe, 0, EMPTY_MAP)]),
  protocolError('a signal from the acceptor', ({ mine }) => [frame(SIGNAL, mine.exec, 0, pack({ resize: 1 }))]),
];

const LIMITS: Fault[] = [
  {
    what: 'a signal beyond its limit',
    code: 'FRAME_TOO_LARGE',
    frames: ({ theirs }) => [frame(SIGNAL, theirs.exec, 0, pack({ resize: 1, fill: 'x'.repeat(MAX_SIGNAL_BYTES) }))],
  },
  {
    what: 'a frame one byte beyond the limit',
    code: 'FRAME_TOO_LARGE',
    frames: ({ theirs }) => [frame(DATA, theirs.pipe, 0, new Uint8Array(MAX_FRAME_BYTES - 7))],
  },
  invalid('a message beyond its limit', ({ mine }) =>
    Array.from({ length: 1 + MAX_MESSAGE_BYTES / (MAX_FRAME_BYTES / 2) }, () =>
      frame(reply, mine.call, MORE, new Uint8Array(MAX_FRAME_BYTES / 2)),
    ),
  ),
  ...['-1', '2 ** 53', '2 ** 64 - 1', '1.5', 'text', 'nothing', 'a field too many'].flatMap((what) => [
    invalid(`a window of ${what}`, ({ theirs }) => [frame(WINDOW, theirs.pipe, 0, badCount('limit', what))]),
    invalid(`an ack of ${what}`, () => [frame(ACK, 0, 0, badCount('bytes', what, 'at'))]),
    invalid(`an ack at ${what}`, () => [frame(ACK, 0, 0, badCount('at', what, 'bytes'))]),
    invalid(`a wish for acks of ${what}`, () => [frame(ACK_FREQUENCY, 0, 0, badCount('bytes', what))]),
  ]),
  {
    what: 'a window that fell',
    code: 'FLOW_CONTROL_ERROR',
    frames: ({ theirs }) => [windowOf(theirs.pipe, 256 * 1024 - 1)],
  },
  {
    what: 'a window that rose and fell',
    code: 'FLOW_CONTROL_ERROR',
    frames: ({ mine }) => [windowOf(mine.pipe, Number.MAX_SAFE_INTEGER), windowOf(mine.pipe, 2 ** 40)],
  },
  protocolError('an ack of more than was sent', () => [frame(ACK, 0, 0, pack({ bytes: 1_000_000, at: 0 }))]),
  protocolError('an ack that fell', () => [
    frame(ACK, 0, 0, pack({ bytes: 40, at: 0 })),
    frame(ACK, 0, 0, pack({ bytes: 39, at: 0 })),
  ]),
  invalid('a reset without a code', ({ theirs }) => [frame(RESET, theirs.pipe, 0, pack({ message: '' }))]),
  invalid('a reset with an endless message', ({ theirs }) => [
    frame(RESET, theirs.pipe, 0, pack({ code: 'CANCELLED', message: 'x'.repeat(1025) })),
  ]),
  invalid('a goaway with an endless reason', () => [
    frame(goaway.code, 0, 0, pack({ code: 'SHUTDOWN', reason: 'x'.repeat(257), lastStream: 0 })),
  ]),
  invalid('a goaway without lastStream', () => [frame(goaway.code, 0, 0, pack({ code: 'SHUTDOWN', reason: '' }))]),
  invalid('a ping with a field too many', () => [frame(ping.code, 0, 0, pack({ id: 1, more: 1 }))]),
  invalid('a pong without an id', () => [frame(pong.code, 0, 0, EMPTY_MAP)]),
];

function windowOf(stream: number, limit: number): Uint8Array {
  return frame(WINDOW, stream, 0, pack({ limit }));
}

/** A map whose `field` is no count; `other` is one. */
function badCount(field: string, what: string, other?: string): Uint8Array {
  const good = other === undefined ? {} : { [other]: 0 };
  const values: Record<string, object> = {
    '-1': { [field]: -1 },
    '2 ** 53': { [field]: 2 ** 53 },
    '1.5': { [field]: 1.5 },
    text: { [field]: '300000' },
    nothing: {},
    'a field too many': { [field]: 0, more: 1 },
  };
  if (what in values) return pack({ ...good, ...values[what] });
  const rest = pack(good);
  const count = (rest[0] ?? 0) + 1; // the map has one entry more
  return Buffer.concat([
    Uint8Array.of(count),
    rest.subarray(1),
    pack(field),
    Uint8Array.of(0xcf),
    Buffer.alloc(8, 0xff),
  ]);
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** Payloads that must not reach a decoder. */
const VALUES: [what: string, payload: Uint8Array][] = [
  ['nothing', new Uint8Array(0)],
  ['a value and a byte', Buffer.concat([EMPTY_MAP, Uint8Array.of(0)])],
  ['a value that is cut short', pack({ id: 1_000_000 }).subarray(0, -1)],
  ['arrays 300 deep', Buffer.concat([Buffer.alloc(299, 0x91), Uint8Array.of(0x90)])],
  ['maps 300 deep', Buffer.concat([Buffer.from('81a178'.repeat(299), 'hex'), Uint8Array.of(0x80)])],
  ['arrays one too deep', Buffer.concat([Buffer.alloc(MAX_MESSAGE_DEPTH, 0x91), Uint8Array.of(0x90)])],
  ['a million arrays deep', Buffer.alloc(1_000_000, 0x91)],
  ['too many values', Buffer.concat([hex('dd 000186a0'), Buffer.alloc(MAX_MESSAGE_NODES)])],
  ['array 16 of 65535', hex('dc ffff')],
  ['array 32 of 4294967295', hex('dd ffffffff')],
  ['array 32 of 4294967295 with some', Buffer.concat([hex('dd ffffffff'), Buffer.alloc(1000)])],
  ['map 16 of 65535', hex('de ffff')],
  ['map 32 of 4294967295', hex('df ffffffff')],
  ['map 32 of 2147483648, whose values overflow', Buffer.concat([hex('df 80000000'), Buffer.alloc(64)])],
  [
    'an array inside arrays that each claim all that is left',
    Buffer.concat([hex('dd 00000020'.repeat(4)), Buffer.alloc(33)]),
  ],
  ['fixstr beyond the end', hex('bf 61')],
  ['str 8 beyond the end', hex('d9 ff 61')],
  ['str 16 beyond the end', hex('da ffff 61')],
  ['str 32 of 4 GiB', hex('db ffffffff 61')],
  ['bin 8 beyond the end', hex('c4 ff 61')],
  ['bin 16 beyond the end', hex('c5 ffff 61')],
  ['bin 32 of 4 GiB', hex('c6 ffffffff 61')],
  ['a length that is cut short', hex('db ffff')],
  ['ext 8', hex('c7 01 05 00')],
  ['ext 16', hex('c8 0001 05 00')],
  ['ext 32 of 4 GiB', hex('c9 ffffffff 05')],
  ...['d4 05 00', 'd5 05 0000', 'd6 ff 00000000', `d7 05 ${'00'.repeat(8)}`, `d8 05 ${'00'.repeat(16)}`].map(
    (text): [string, Uint8Array] => [`fixext ${text.slice(0, 2)}`, hex(text)],
  ),
  ['the byte 0xc1', hex('c1')],
  ['0xc1 as a value', hex('81 a178 c1')],
  ['the key __proto__', Buffer.concat([hex('81 a9'), Buffer.from('__proto__'), hex('80')])],
  ['the key __proto__ as str 8', Buffer.concat([hex('81 d9 09'), Buffer.from('__proto__'), hex('80')])],
  ['the key __proto__ as str 32', Buffer.concat([hex('81 db 00000009'), Buffer.from('__proto__'), hex('80')])],
  ['the key __proto__ within', Buffer.concat([hex('81 a178 91 81 a9'), Buffer.from('__proto__'), hex('80')])],
  ['a number as a key', hex('81 01 02')],
  ['bytes as a key', hex('81 c4 01 61 02')],
  ['nil as a key', hex('81 c0 02')],
  ['a map as a key', hex('81 80 02')],
];

const CARRIERS: [what: string, carry: (ids: OpenIds, payload: Uint8Array) => Uint8Array][] = [
  ['a ping', (_, payload) => frame(ping.code, 0, 0, payload)],
  ['parameters', ({ next }, payload) => frame(anyKind.code, next, OPEN | END, payload)],
  ['an item', ({ mine }, payload) => frame(item, mine.list, 0, payload)],
  ['a reset', ({ theirs }, payload) => frame(RESET, theirs.pipe, 0, payload)],
];

const PAYLOADS: Fault[] = VALUES.flatMap(([what, payload], index) => {
  const small = payload.byteLength < 4096;
  // Each payload as a ping, and in turn as something else: the scan is the same everywhere.
  const others = CARRIERS.slice(1);
  const chosen = [CARRIERS[0], others[index % others.length]].slice(0, small ? 2 : 1);
  return chosen.flatMap((carrier) =>
    carrier === undefined ? [] : [invalid(`${what} in ${carrier[0]}`, (ids) => [carrier[1](ids, payload)])],
  );
});

const CHUNKS: Fault[] = [
  ['a string', pack('abc')],
  ['an array', pack([1])],
  ['nothing', new Uint8Array(0)],
  ['a bin whose length is too small', hex('c4 01 6162')],
  ['a bin whose length is too large', hex('c4 03 6162')],
  ['a bin whose head is cut short', hex('c6 0000')],
  ['a bin of 4 GiB', hex('c6 ffffffff 61')],
].map(([what, payload]) =>
  invalid(`a chunk that is ${String(what)}`, ({ theirs }) => [frame(DATA, theirs.pipe, 0, payload as Uint8Array)]),
);

for (const victim of ['server', 'agent'] as const) {
  describe(`what a hostile ${victim === 'server' ? 'agent' : 'server'} may send ends its own session`, () => {
    const groups = { HEADERS, TYPES, IDS, ORDER, LIMITS, PAYLOADS, CHUNKS };
    for (const [group, faults] of Object.entries(groups)) {
      describe(group.toLowerCase(), () => {
        for (const fault of faults) {
          if (fault.victim !== undefined && fault.victim !== victim) continue;
          test(`${fault.what}: ${fault.code}`, async () => {
            const scene = await attack(victim);
            scene.send(...fault.frames(scene.ids));
            await scene.expectEnd(fault.code);
          });
        }
      });
    }
  });
}
