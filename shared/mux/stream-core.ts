/** What all parts of one stream share: its state, its two directions, its outcomes, and how it ends. */
import type { FairleadError } from '../errors.ts';
import type { StreamKind } from '../messages/kind.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import type { ByteDuplex } from './byte-duplex.ts';
import { encodeFrame } from './frame.ts';
import { Inbox } from './inbox.ts';
import { Outbox } from './outbox.ts';
import { Outcome } from './outcome.ts';
import { SignalGate, type SignalPacer } from './signals.ts';
import { type StreamEvent, type StreamState, transition } from './states.ts';
import { toStreamError } from './stream-error.ts';
import type { StreamHost } from './stream-host.ts';
import { inboundOf, type StreamPhase, type StreamRole, sendsBytes } from './stream-role.ts';
import { encodeValue } from './values.ts';

export class StreamCore {
  readonly id: number;
  readonly kind: StreamKind;
  readonly role: StreamRole;
  readonly host: StreamHost;
  readonly outbox: Outbox;
  readonly inbox: Inbox;
  readonly reply = new Outcome<unknown>();
  readonly trailer = new Outcome<unknown>();
  readonly closed = new Outcome<FairleadError | undefined>();
  phase: StreamPhase = 'reply';
  bytes: ByteDuplex | undefined;
  itemsWaiting: (() => void) | undefined;
  pacer: SignalPacer | undefined;
  /** The acceptor's last message, encoded, while bytes before it are still on their way. */
  lastMessage: Uint8Array | undefined;
  finishing = false;
  #state: StreamState = 'idle';
  #error: FairleadError | undefined;
  #abort: AbortController | undefined;
  #signals: SignalGate | undefined;

  /** `limit` is the peer's initial window. */
  constructor(host: StreamHost, role: StreamRole, id: number, kind: StreamKind, limit: number) {
    this.host = host;
    this.role = role;
    this.id = id;
    this.kind = kind;
    const held = role === 'acceptor';
    const { priority, compressible = false } = kind;
    this.outbox = new Outbox(host, id, { priority, limit, held, compressible }, () => this.#advance('send END'));
    this.inbox = new Inbox(host, inboundOf(kind, role), (value) => this.#sendWindow(value));
    this.inbox.onChange = () => this.#changed();
    this.#advance(role === 'opener' ? 'send OPEN' : 'receive OPEN');
    if (sendsBytes(kind, 'opener')) return;
    if (role === 'opener') this.outbox.markEnded();
    else this.endInbound();
  }

  get state(): StreamState {
    return this.#state;
  }

  /** Why the stream was reset or interrupted. */
  get error(): FairleadError | undefined {
    return this.#error;
  }

  get aborted(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#error !== undefined) this.#abort.abort(this.#error);
    }
    return this.#abort.signal;
  }

  get signals(): SignalGate {
    this.#signals ??= new SignalGate(this.host.limits.signalsPerSecond, this.host.clock.monotonic());
    return this.#signals;
  }

  /** Ends both directions at once, and tells the peer. Idempotent. */
  reset(error: FairleadError): void {
    if (this.#state === 'closed') return;
    this.host.sendReset(this.id, error);
    this.#advance('send reset');
    this.#fail(error, 'local');
  }

  /** Nobody will read what is left of a stream that has closed; whoever still tries gets the error. */
  leave(error: FairleadError): void {
    const { received, taken } = this.inbox.window;
    if (received === taken || this.#error !== undefined) return;
    this.#error = error;
    this.inbox.close();
    this.bytes?.destroy(error);
  }

  /** The peer has reset the stream. */
  resetByPeer(error: FairleadError): void {
    this.#advance('receive reset');
    this.#fail(error, 'remote');
  }

  /** The session has ended under the stream. */
  interrupt(error: FairleadError): void {
    if (this.#state === 'closed') return;
    this.#advance('session end');
    this.#fail(error, 'local');
  }

  endInbound(): void {
    this.inbox.end();
    this.#advance('receive END');
  }

  #sendWindow(limit: number): void {
    const { messageBytes, depth, nodes } = this.host.limits;
    const payload = encodeValue({ limit }, { bytes: messageBytes, depth, nodes }, 'a window');
    this.host.queueCredit({ head: encodeFrame(MECHANICS['stream.window'], this.id, 0, payload) });
  }

  /** Something new can be taken, or nothing will come any more. */
  #changed(): void {
    const waiting = this.itemsWaiting;
    this.itemsWaiting = undefined;
    waiting?.();
    if (this.bytes === undefined) return;
    try {
      this.bytes.deliver();
    } catch (error) {
      // A listener of the application threw: its own stream fails, not the session.
      this.reset(toStreamError(error));
    }
  }

  #advance(event: StreamEvent): void {
    const next = transition(this.#state, event);
    if (next === undefined) throw new Error(`a stream that is ${this.#state} cannot ${event}`);
    this.#state = next;
    if (next === 'closed' && (event === 'send END' || event === 'receive END')) this.#complete();
  }

  #complete(): void {
    this.pacer?.close();
    this.trailer.resolve(undefined);
    this.closed.resolve(undefined);
    this.host.released(this.id, undefined, 'local');
  }

  #fail(error: FairleadError, by: 'local' | 'remote'): void {
    this.#error = error;
    this.pacer?.close();
    this.outbox.fail(error);
    this.inbox.close();
    this.reply.reject(error);
    this.trailer.reject(error);
    this.closed.resolve(error);
    this.#abort?.abort(error);
    this.bytes?.destroy(error);
    this.host.released(this.id, error, by);
  }
}
