/** One connection between server and agent: it opens and accepts streams, keeps both ends honest, and ends them all. */
import type { Static } from 'typebox';
import type { Clock } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import type { Goaway, Hello, Welcome } from '../messages/control.ts';
import type { ControlKind, Params, StreamKind } from '../messages/kind.ts';
import { Outcome } from './outcome.ts';
import { cancelled, resetOnAbort } from './reset-on-abort.ts';
import { maySend, type SessionPhase } from './session-control.ts';
import { closeCode, endByTransport, endOf, type GoawayOptions, type SessionEnd } from './session-end.ts';
import type { SessionOptions } from './session-options.ts';
import { SessionParts } from './session-parts.ts';
import type { SessionStats } from './session-stats.ts';
import type { PeerLimits } from './session-stream-host.ts';
import type { MuxStream } from './stream.ts';
import type { Transport, TransportEnd } from './transport.ts';

export type { GoawayOptions, SessionEnd } from './session-end.ts';
export type { SessionOptions } from './session-options.ts';
export type { SessionStats } from './session-stats.ts';

export class Session {
  readonly #transport: Transport;
  readonly #parts: SessionParts;
  readonly #closed = new Outcome<SessionEnd>();
  #phase: SessionPhase = 'greeting';
  #end: SessionEnd | undefined;
  #draining = false;
  /** Whether this end has announced that it goes. */
  #leaving = false;
  #peerGoaway: Goaway | undefined;
  /** Called when no stream is open any more. */
  #onIdle: (() => void) | undefined;

  constructor(options: SessionOptions) {
    const { transport } = options;
    this.#transport = transport;
    this.#parts = new SessionParts(options, {
      phase: () => this.#phase,
      onReady: () => this.#becomeReady(),
      onGoaway: (value) => this.#takeGoaway(value),
      onIdle: () => this.#idle(),
      fail: (error) => this.destroy(error),
    });
    const { limits, arrivals, writer } = this.#parts;
    transport.setMaxMessageBytes(limits.greetingFrameBytes);
    transport.closed.then(
      (end) => this.#onTransportClosed(end),
      (error: Error) => this.#onTransportClosed({ code: 1006, reason: '', error }),
    );
    transport.attach({
      message: (first, rest) => arrivals.message(first, rest),
      violation: (code, reason) => this.destroy(new FairleadError(code, reason)),
      drained: () => writer.drained(),
    });
  }

  /** What a welcome from this end must say of its limits. */
  get advertised(): PeerLimits {
    return this.#parts.advertised;
  }

  /** Resolves once the connection is gone; never rejects. */
  get closed(): Promise<SessionEnd> {
    return this.#closed.promise;
  }

  /** Whether either end has announced that it goes, or the session has ended: no new streams. */
  get draining(): boolean {
    return this.#draining || this.#phase === 'ended';
  }

  get openStreams(): number {
    return this.#parts.streams.size;
  }

  /** When the last frame came, ms since 1970. */
  get lastActivityAt(): number {
    return this.#parts.arrivals.lastAt;
  }

  get stats(): SessionStats {
    const { inFlight, arrivals, writer, acks, streams } = this.#parts;
    const { host } = streams;
    return {
      link: inFlight,
      bytesIn: arrivals.bytes,
      bytesOut: writer.bytes,
      bytesAcked: acks.acked,
      framesIn: arrivals.frames,
      framesOut: writer.frames,
      framesDropped: streams.framesDropped,
      memoryBytes: host.memoryBytes,
      creditStarvedMs: host.starvedMs,
      socketBlockedMs: writer.blockedMs,
      resetsByCode: host.resetsByCode,
      deflated: host.deflated,
      inflated: host.inflated,
      queuedBytes: { control: writer.controlBytes, ...streams.queuedBytes },
    };
  }

  /** The peer's hello or welcome; rejects when the session ends before it. */
  get greeting(): Promise<Hello | Welcome> {
    return this.#parts.control.greeting.promise;
  }

  /** The longest wait for each step of the greeting, in ms. */
  get helloTimeoutMs(): number {
    return this.#parts.limits.helloTimeoutMs;
  }

  get clock(): Clock {
    return this.#parts.clock;
  }

  // ————— what this end says

  /**
   * Opens a stream.
   * @param options.signal resets the stream when it fires, with its reason if that is a FairleadError, else CANCELLED
   * @throws FairleadError VALIDATION if the parameters do not fit, MESSAGE_INVALID if they are too large, OVERLOADED,
   *   SHUTDOWN while the session drains, STREAM_INTERRUPTED once it has ended or before it is ready, CANCELLED
   */
  open<K extends StreamKind>(kind: K, params: Params<K>, options: { signal?: AbortSignal } = {}): MuxStream<K> {
    const { signal } = options;
    const { side, streams } = this.#parts;
    if (!maySend(side, kind.from)) throw new Error(`${kind.name} is not opened by the ${side}`);
    if (signal?.aborted) throw cancelled(signal);
    if (this.#phase !== 'ready') throw this.#interruption();
    const stream = streams.open(kind, params);
    if (signal !== undefined) resetOnAbort(stream, signal);
    return stream;
  }

  /**
   * Sends a control message; a welcome makes the session ready. Does nothing once the session has ended.
   * @throws FairleadError VALIDATION if the value does not fit its schema, MESSAGE_INVALID if it is too large
   */
  sendControl<K extends ControlKind>(kind: K, value: Static<K['value']>): void {
    this.#parts.control.send(kind, value);
  }

  /** @returns the round trip in ms. @throws FairleadError TIMEOUT (10 s unless given), OVERLOADED, STREAM_INTERRUPTED */
  ping(options: { timeoutMs?: number } = {}): Promise<number> {
    if (this.#phase !== 'ready') return Promise.reject(this.#interruption());
    return this.#parts.control.ping(options.timeoutMs);
  }

  /** Ends the session with TIMEOUT once nothing has come for so long. Any frame counts as life. */
  startLiveness(silenceMs: number): void {
    if (this.#phase === 'ended') return;
    this.#parts.liveness.start(silenceMs, () => {
      this.destroy(new FairleadError('TIMEOUT', `nothing was heard for ${silenceMs} ms`));
    });
  }

  // ————— the end

  /**
   * Ends the session in order: no new streams, running ones may finish by the deadline, then it closes.
   * Resolves when it is closed; never rejects. Idempotent: the first call's code and deadline stand.
   */
  async goaway(end: GoawayOptions): Promise<void> {
    if (this.#phase !== 'ended' && !this.#leaving) {
      this.#leaving = true;
      this.#drain();
      this.#parts.writer.queueControl({ head: this.#parts.control.goawayFrame(end) });
      if (this.#parts.streams.size > 0) await this.#untilIdle(end.deadlineMs ?? this.#parts.limits.goawayDeadlineMs);
      this.#close(endOf(end, 'local'));
    }
    await this.closed;
  }

  #drain(): void {
    this.#draining = true;
    this.#parts.streams.drain();
  }

  #untilIdle(deadlineMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.clock.setTimeout(resolve, deadlineMs);
    this.#onIdle = () => {
      timer.cancel();
      resolve();
    };
    return promise;
  }

  #idle(): void {
    if (this.#onIdle !== undefined) this.#onIdle();
    // The frame that ended the last stream leaves first.
    else if (this.#peerGoaway !== undefined) setImmediate(() => this.#closeAfterPeer());
  }

  /** The peer has said that it goes, and nothing runs any more. */
  #closeAfterPeer(): void {
    if (this.#peerGoaway !== undefined && this.#parts.streams.size === 0)
      this.#close(endOf(this.#peerGoaway, 'remote'));
  }

  /** Sends a goaway with the error's code as far as the connection takes it, ends all streams and closes at once. Idempotent. */
  destroy(error: FairleadError): void {
    this.refuse({ code: error.code, reason: error.message });
  }

  /** As `destroy`, with all that a goaway can say. */
  refuse(end: GoawayOptions): void {
    if (this.#phase === 'ended') return;
    this.#parts.writer.sendLast(this.#parts.control.goawayFrame(end));
    this.#close(endOf(end, 'local'));
  }

  /** Ends everything that lives in the session, then the transport. */
  #close(end: SessionEnd): void {
    if (this.#phase === 'ended') return;
    this.#parts.writer.flushControl();
    this.#finish(end);
    this.#transport.close(closeCode(end.code), end.code);
  }

  #finish(end: SessionEnd): void {
    this.#phase = 'ended';
    this.#end = end;
    this.#parts.liveness.stop();
    this.#parts.writer.stop();
    const error = this.#interruption();
    this.#parts.control.greeting.reject(new FairleadError(end.code, end.reason));
    this.#parts.streams.end(error);
    this.#parts.control.failPings(error);
    this.#onIdle?.();
  }

  /** What a stream gets when its session ends: that it was cut, and why. */
  #interruption(): FairleadError {
    if (this.#end === undefined) return new FairleadError('STREAM_INTERRUPTED', 'the session is not ready yet');
    const { code, reason } = this.#end;
    return new FairleadError('STREAM_INTERRUPTED', `the session ended (${code}): ${reason}`);
  }

  #onTransportClosed(transportEnd: TransportEnd): void {
    // The peer's goaway says best why it closed.
    const end = this.#peerGoaway === undefined ? endByTransport(transportEnd) : endOf(this.#peerGoaway, 'remote');
    if (this.#phase !== 'ended') this.#finish(end);
    this.#closed.resolve(this.#end ?? end);
  }

  // ————— what the peer says

  #becomeReady(): void {
    this.#phase = 'ready';
    this.#transport.setMaxMessageBytes(this.#parts.limits.frameBytes);
  }

  #takeGoaway(value: Goaway): void {
    this.#peerGoaway ??= value;
    this.#drain();
    const { code, reason } = endOf(value, 'remote');
    this.#parts.control.greeting.reject(new FairleadError(code, reason));
    const error = new FairleadError('STREAM_INTERRUPTED', `the peer goes away (${code}): ${reason}`);
    this.#parts.streams.interruptAfter(value.lastStream, error);
    if (this.#parts.streams.size === 0) this.#closeAfterPeer();
  }
}
