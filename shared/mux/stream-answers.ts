/** What the acceptor of a stream sends: its reply, its items, and at the end its trailer. */
import type { TSchema } from 'typebox';
import { FairleadError } from '../errors.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { validate } from '../validate.ts';
import { encodeFrame, FLAGS } from './frame.ts';
import type { StreamCore } from './stream-core.ts';
import { toStreamError } from './stream-error.ts';
import { isUnary, sendsBytes } from './stream-role.ts';
import { encodeValue } from './values.ts';

/** As MuxStream.sendReply. @throws FairleadError MESSAGE_INVALID, after the stream was reset */
export function sendReply(core: StreamCore, value: unknown): void {
  if (core.role !== 'acceptor') throw new Error('only the acceptor of a stream replies');
  if (core.state === 'closed') return;
  if (core.phase !== 'reply') throw new Error(`${core.kind.name} was answered twice`);
  const payload = encode(core, core.kind.reply, value, 'reply');
  const unary = isUnary(core.kind);
  core.phase = 'body';
  core.host.answered(core.id);
  if (payload.byteLength <= core.host.payloadBytes && core.host.hasControlRoom(payload.byteLength)) {
    core.host.queueControl({ head: encodeFrame(MECHANICS.reply, core.id, unary ? FLAGS.END : 0, payload) });
    if (unary) core.outbox.markEnded();
  } else {
    // A long reply would hold up every keystroke as a control frame, so it takes its turn in the stream's class.
    core.outbox.pushReply(payload);
    if (unary) core.outbox.end();
  }
  core.outbox.release();
}

/** As MuxStream.sendItem. */
export function sendItem(core: StreamCore, value: unknown): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Whoever does not wait learns of the failure by `closed` or `aborted`.
  promise.catch(() => undefined);
  try {
    const payload = encodeItem(core, value);
    core.outbox.pushMessage(MECHANICS.item, payload, true, (error) => (error ? reject(error) : resolve()));
  } catch (error) {
    reject(error);
  }
  return promise;
}

function encodeItem(core: StreamCore, value: unknown): Uint8Array {
  const schema = core.kind.item;
  if (core.role !== 'acceptor' || schema === undefined) throw new Error(`${core.kind.name} has no items`);
  if (core.error !== undefined) throw core.error;
  if (core.finishing || core.state === 'closed') throw new Error(`${core.kind.name} is finished already`);
  const payload = encode(core, schema, value, 'item');
  if (core.outbox.queuedBytes <= core.host.limits.queuedStreamBytes) return payload;
  const error = new FairleadError('OVERLOADED', 'too many items wait to be sent on one stream');
  core.reset(error);
  throw error;
}

/** As MuxStream.finish. @throws FairleadError MESSAGE_INVALID, after the stream was reset */
export function finish(core: StreamCore, trailer?: unknown): void {
  if (core.role !== 'acceptor') throw new Error('only the acceptor of a stream finishes it');
  if (core.finishing || core.state === 'closed') return;
  if (core.phase === 'reply') throw new Error(`${core.kind.name} is finished before it was answered`);
  if (core.kind.trailer !== undefined) core.lastMessage = encode(core, core.kind.trailer, trailer, 'trailer');
  core.finishing = true;
  const bytes = core.bytes;
  if (bytes === undefined || !sendsBytes(core.kind, 'acceptor') || bytes.writableFinished || bytes.destroyed) {
    sendLast(core);
  } else bytes.end();
  if (!core.inbox.ended) core.inbox.discard();
}

/** Ends the acceptor's direction, with its trailer if it has one. */
export function sendLast(core: StreamCore): void {
  const trailer = core.lastMessage;
  core.lastMessage = undefined;
  if (trailer !== undefined) core.outbox.pushMessage(MECHANICS.trailer, trailer, false);
  core.outbox.end();
}

/** Validates and encodes one of the acceptor's messages; a message that the peer would refuse fails this stream alone. */
function encode(core: StreamCore, schema: TSchema, value: unknown, name: string): Uint8Array {
  const what = `the ${name} of ${core.kind.name}`;
  const { messageBytes, itemBytes, depth, nodes, itemNodes } = core.host.limits;
  const own = name === 'item' ? { bytes: itemBytes, nodes: itemNodes } : { bytes: messageBytes, nodes };
  try {
    const valid = validate(schema, value, what, 'MESSAGE_INVALID');
    return encodeValue(valid, { ...own, depth }, what);
  } catch (error) {
    core.reset(toStreamError(error));
    throw error;
  }
}
