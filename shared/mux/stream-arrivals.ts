/** What arrives on a stream: each frame is checked for its place in the order, decoded, validated and passed on. */
import { FairleadError, fromAgentError, fromWireError } from '../errors.ts';
import { MECHANICS, ResetValue, WindowValue } from '../messages/mechanics.ts';
import { fits } from '../validate.ts';
import { binStart, FLAGS, FRAME_HEADER_BYTES } from './frame.ts';
import type { WholeMessage } from './inbox.ts';
import { violation } from './session-end.ts';
import { canReceive } from './states.ts';
import type { StreamCore } from './stream-core.ts';
import { toStreamError } from './stream-error.ts';
import { sendsBytes } from './stream-role.ts';
import { structureFault } from './structure.ts';
import { decodeValue } from './values.ts';

const NO_PARTS: readonly Uint8Array[] = [];

/**
 * Takes in a frame of this stream that is not its OPEN; its header lies whole in `first`.
 * @throws FairleadError if the peer broke the protocol: the session must end
 */
export function receiveFrame(
  core: StreamCore,
  type: number,
  flags: number,
  first: Uint8Array,
  rest: readonly Uint8Array[],
): void {
  if (flags & FLAGS.DEFLATED) {
    receivePacked(core, type, flags, first, rest);
    return;
  }
  if (type === MECHANICS['stream.data']) {
    receiveData(core, flags, FRAME_HEADER_BYTES, first, rest);
    return;
  }
  const frame = rest.length === 0 ? first : Buffer.concat([first, ...rest]);
  switch (type) {
    case MECHANICS.reply:
    case MECHANICS.item:
    case MECHANICS.trailer:
      receiveMessage(core, type, flags, frame.subarray(FRAME_HEADER_BYTES));
      return;
    case MECHANICS['stream.end']:
      if (flags !== FLAGS.END || frame.byteLength > FRAME_HEADER_BYTES) throw violation('an end frame is not empty');
      core.host.countControlFrame();
      expectBody(core);
      receiveEnd(core);
      return;
    default:
      receiveMechanics(core, type, flags, frame.subarray(FRAME_HEADER_BYTES));
      return;
  }
}

function expectBody(core: StreamCore): void {
  if (!canReceive(core.state)) throw violation(`a body frame after END on a stream of ${core.kind.name}`);
  if (core.role === 'opener' && core.phase === 'reply') throw violation(`${core.kind.name} sent before its reply`);
}

/**
 * Takes in a compressed body frame: what comes out of it is checked as if it had come like that. Of any kind: what pays is
 * for the sender to know, and a newer one may know better.
 */
function receivePacked(
  core: StreamCore,
  type: number,
  flags: number,
  first: Uint8Array,
  rest: readonly Uint8Array[],
): void {
  const { deflation } = core.host;
  if (deflation === undefined) throw violation(`a compressed frame on a stream of ${core.kind.name}`);
  const frame = rest.length === 0 ? first : Buffer.concat([first, ...rest]);
  const payload = deflation.unpack(frame.subarray(FRAME_HEADER_BYTES));
  if (type === MECHANICS['stream.data']) receiveData(core, flags, 0, payload, NO_PARTS);
  else receiveMessage(core, type, flags, payload);
}

/** The chunk's MessagePack head starts at `at` in `first`. */
function receiveData(
  core: StreamCore,
  flags: number,
  at: number,
  first: Uint8Array,
  rest: readonly Uint8Array[],
): void {
  const sender = core.role === 'opener' ? 'acceptor' : 'opener';
  if (!sendsBytes(core.kind, sender)) throw violation(`bytes on a stream of ${core.kind.name}`);
  if (flags & FLAGS.MORE) throw violation('a byte chunk with MORE');
  expectBody(core);
  if (core.phase === 'end') throw violation('bytes after the trailer');
  if (core.inbox.assembling) throw violation('bytes inside a message');
  const totalBytes = rest.reduce((sum, part) => sum + part.byteLength, first.byteLength);
  const start = binStart(first, at, totalBytes);
  if (start === undefined) throw new FairleadError('MESSAGE_INVALID', 'a byte chunk is no MessagePack bin');
  if (totalBytes === start) core.host.countControlFrame();
  core.inbox.data(first.subarray(start), rest);
  if (flags & FLAGS.END) receiveEnd(core);
}

function receiveMessage(core: StreamCore, type: number, flags: number, payload: Uint8Array): void {
  const more = (flags & FLAGS.MORE) !== 0;
  if (core.role === 'acceptor') throw violation(`the opener of ${core.kind.name} sent an acceptor's message`);
  if (type !== MECHANICS.reply) expectBody(core);
  else if (core.phase !== 'reply') throw violation(`a second reply of ${core.kind.name}`);
  if (type !== MECHANICS.reply && core.phase === 'end') throw violation('a message after the trailer');
  if (more && flags & FLAGS.END) throw violation('a frame with MORE and END');
  if (payload.byteLength === 0) core.host.countControlFrame();
  const whole = core.inbox.fragment(type, payload, more);
  if (whole === 'no room') {
    core.reset(new FairleadError('OVERLOADED', 'too many long messages at once'));
    return;
  }
  if (whole !== undefined) takeMessage(core, type, whole);
  if (flags & FLAGS.END && core.state !== 'closed') receiveEnd(core);
}

function takeMessage(core: StreamCore, type: number, whole: WholeMessage): void {
  const name = type === MECHANICS.reply ? 'reply' : type === MECHANICS.item ? 'item' : 'trailer';
  const schema = core.kind[name];
  if (schema === undefined) throw violation(`${core.kind.name} has no ${name}`);
  const what = `the ${name} of ${core.kind.name}`;
  if (name === 'item') {
    takeItem(core, whole, what);
    return;
  }
  const value = decodeValue(whole.bytes, core.host.limits, what);
  if (!fits(schema, value)) {
    core.reset(new FairleadError('MESSAGE_INVALID', `${what} does not fit its schema`));
    return;
  }
  if (name === 'reply') {
    core.phase = 'body';
    core.host.answered(core.id);
    core.reply.resolve(value);
  } else {
    core.phase = 'end';
    core.trailer.resolve(value);
  }
}

/** Queues an item as it came, once its structure is known to be harmless. */
function takeItem(core: StreamCore, { bytes, credit }: WholeMessage, what: string): void {
  const { itemBytes, itemNodes: nodes, depth } = core.host.limits;
  if (bytes.byteLength > itemBytes)
    throw new FairleadError('MESSAGE_INVALID', `${what} is larger than ${itemBytes} bytes`);
  const fault = structureFault(bytes, { depth, nodes });
  if (fault !== undefined) throw new FairleadError('MESSAGE_INVALID', `${what} is not acceptable: ${fault}`);
  if (core.inbox.item(bytes, credit)) return;
  core.reset(new FairleadError('OVERLOADED', `too many items of ${core.kind.name} wait to be read`));
}

function receiveEnd(core: StreamCore): void {
  if (core.inbox.assembling) throw violation('END inside a message');
  const trailerMissing = core.role === 'opener' && core.kind.trailer !== undefined && core.phase !== 'end';
  if (trailerMissing) throw violation(`${core.kind.name} ended without its trailer`);
  core.endInbound();
  // A trailer says that the acceptor is done with everything: what is still on its way to it has no reader.
  if (core.role === 'opener' && core.kind.trailer !== undefined && core.state !== 'closed') core.outbox.discard();
}

function receiveMechanics(core: StreamCore, type: number, flags: number, payload: Uint8Array): void {
  if (flags !== 0) throw violation('flags on a frame that takes none');
  const { depth, controlMessageNodes: nodes } = core.host.limits;
  const limits = { depth, nodes };
  if (type === MECHANICS['stream.window']) {
    core.host.countControlFrame();
    const value = decodeValue(payload, limits, 'a window');
    if (!fits(WindowValue, value)) throw new FairleadError('MESSAGE_INVALID', 'a window does not fit its schema');
    if (!core.outbox.raise(value.limit)) throw new FairleadError('FLOW_CONTROL_ERROR', 'a limit fell');
  } else if (type === MECHANICS['stream.reset']) {
    const value = decodeValue(payload, limits, 'a reset');
    if (!fits(ResetValue, value)) throw new FairleadError('MESSAGE_INVALID', 'a reset does not fit its schema');
    core.resetByPeer(isServers(core) ? fromWireError(value) : fromAgentError(value));
  } else if (type === MECHANICS['stream.signal']) {
    receiveSignal(core, payload);
  } else {
    throw violation(`a frame of type ${type} on an open stream`);
  }
}

/** Whether the other end of a stream is a server for certain, whose every word counts. */
function isServers({ role, kind }: StreamCore): boolean {
  return kind.from === (role === 'opener' ? 'agent' : 'server');
}

function receiveSignal(core: StreamCore, payload: Uint8Array): void {
  const schema = core.kind.signal;
  if (core.role === 'opener' || schema === undefined) throw violation(`a signal on a stream of ${core.kind.name}`);
  core.host.countControlFrame();
  const { limits } = core.host;
  if (payload.byteLength > limits.signalBytes) throw new FairleadError('FRAME_TOO_LARGE', 'a signal is too large');
  const value = decodeValue(payload, limits, 'a signal');
  if (!fits(schema, value)) {
    core.reset(new FairleadError('MESSAGE_INVALID', `a signal of ${core.kind.name} does not fit its schema`));
    return;
  }
  try {
    core.signals.receive(value, core.host.clock.monotonic());
  } catch (error) {
    core.reset(toStreamError(error));
  }
}
