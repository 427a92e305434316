/** A stream's bytes as a Duplex of Node: what it reads, what is written to it, and what leaving it means. */
import { ByteDuplex } from './byte-duplex.ts';
import { sendLast } from './stream-answers.ts';
import type { StreamCore } from './stream-core.ts';
import { codeOf, toStreamError } from './stream-error.ts';
import { sendsBytes } from './stream-role.ts';

/** The stream's Duplex, made when it is first asked for. */
export function bytesOf(core: StreamCore): ByteDuplex {
  if (core.bytes !== undefined) return core.bytes;
  const directions = {
    readable: sendsBytes(core.kind, core.role === 'opener' ? 'acceptor' : 'opener'),
    writable: sendsBytes(core.kind, core.role),
  };
  const bytes = new ByteDuplex(byteSource(core), directions);
  core.bytes = bytes;
  if (core.error !== undefined) bytes.destroy(core.error);
  return bytes;
}

function byteSource(core: StreamCore): ConstructorParameters<typeof ByteDuplex>[0] {
  const inbox = core.inbox;
  return {
    nextChunk: () => inbox.nextChunk(),
    get inboundEnded() {
      return inbox.ended || inbox.discarding;
    },
    taken: (bytes) => inbox.taken(bytes),
    write: (chunks, sent) => writeBytes(core, chunks, sent),
    endWriting: (sent) => endBytes(core, sent),
    abandoned: (error) => abandoned(core, error),
  };
}

function writeBytes(core: StreamCore, chunks: readonly Uint8Array[], sent: (error?: Error) => void): void {
  if (core.error !== undefined) {
    sent(core.error);
    return;
  }
  const filled = chunks.filter((chunk) => chunk.byteLength > 0);
  // The peer has finished and takes no more: what is written now is as good as sent.
  if (core.outbox.endWanted || filled.length === 0) {
    sent();
    return;
  }
  core.outbox.pushBytes(filled, sent);
}

function endBytes(core: StreamCore, sent: (error?: Error) => void): void {
  if (core.error !== undefined) {
    sent(core.error);
    return;
  }
  if (core.role === 'opener' || core.kind.trailer === undefined) {
    core.outbox.end(sent);
    return;
  }
  if (core.finishing) sendLast(core);
  sent();
}

/** The Duplex was destroyed: a failure, unless there was nothing left to read or to write. */
function abandoned(core: StreamCore, error: Error | null): void {
  // What has come and was not read has no reader any more.
  if (core.inbox.ended && core.kind.item === undefined) core.inbox.close();
  if (core.state === 'closed' || mayLeave(core, error)) return;
  core.reset(toStreamError(error));
}

function mayLeave(core: StreamCore, error: Error | null): boolean {
  // Reading with `for await` to the end destroys the Duplex with an AbortError while it could still be written to.
  const afterLoop = codeOf(error) === 'ABORT_ERR';
  if (error !== null && !afterLoop) return false;
  const reads = sendsBytes(core.kind, core.role === 'opener' ? 'acceptor' : 'opener');
  const readToEnd = reads && core.bytes?.readableEnded === true;
  if (!sendsBytes(core.kind, core.role) || core.outbox.endWanted) {
    return !reads || readToEnd || core.inbox.ended || core.inbox.discarding;
  }
  if (!readToEnd || core.outbox.queuedBytes > 0 || core.bytes?.writableLength !== 0) return false;
  // An acceptor that has read it all goes on to `finish`; an opener has no more to say.
  if (core.role === 'opener') core.outbox.end();
  return core.role === 'opener' || afterLoop;
}
