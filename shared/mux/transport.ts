/** The only thing the mux knows of the network: whole messages out, whole messages in, and when to wait. */

/** Why a transport ended. `code` and `reason` are the WebSocket's where there is one. */
export interface TransportEnd {
  readonly code: number;
  readonly reason: string;
  /** The socket's error, if it ended by one. */
  readonly error?: Error;
}

/** What a transport tells its session. Set once, before any message can arrive. */
export interface TransportEvents {
  /**
   * One whole binary message: its beginning, at least one byte of it, and what follows, as it came off the network. The
   * bytes belong to the receiver, who may keep views of them.
   */
  message(first: Uint8Array, rest?: readonly Uint8Array[]): void;
  /** The peer broke the transport's own rules: a text message (PROTOCOL_ERROR), or one beyond the limit. */
  violation(code: 'PROTOCOL_ERROR' | 'FRAME_TOO_LARGE', reason: string): void;
  /** What was buffered has fallen below the low-water mark after `send` had answered false. */
  drained(): void;
}

export interface Transport {
  /** Attaches the session. Messages that arrive before wait. */
  attach(events: TransportEvents): void;
  /**
   * Sends one message made of `head` and `body` without copying either; the caller gives both up.
   * @returns false when the caller should wait for `drained` before it sends bulk.
   */
  send(head: Uint8Array, body?: Uint8Array): boolean;
  /** Holds back what `send` writes until `uncork`, so that many small messages leave in one write. */
  cork(): void;
  uncork(): void;
  /** Bytes handed to `send` that the kernel has not taken yet. */
  readonly bufferedBytes: number;
  /** The largest message that is taken in from now on, in bytes. */
  setMaxMessageBytes(bytes: number): void;
  /** Sends what is queued, then closes; destroys the connection if the peer does not answer in 1 s. Idempotent. */
  close(code: number, reason: string): void;
  /** Ends the connection at once. Idempotent. */
  destroy(): void;
  /** Resolves once the connection is gone; never rejects. */
  readonly closed: Promise<TransportEnd>;
}
