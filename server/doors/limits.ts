/** Limits of both doors, the API's port and the agents': what a connection may cost before anybody knows whose it is. */

/** Bounds of the connections that are on their way to what they came for. */
export interface HandshakeLimits {
  /** Connections on their way, begun or not. */
  readonly total: number;
  /** Hosts behind one NAT or proxy share an address, and come back together after a restart. Of IPv6 a /64 is one address. */
  readonly perAddress: number;
  /** Handshakes under way at a time. Each takes the event loop 1 to 2 ms, and all of them may come due in one turn. */
  readonly atOnce: number;
  /** … of one address, so that a flood from one leaves places for the others. */
  readonly atOnceOfAddress: number;
  /** Handshakes of one address that may be unfinished, or have come to nothing, … */
  readonly unfinished: number;
  /** … of which so many are forgiven each second. What is beyond begins one after the other, each after `slowMs` at most. */
  readonly forgivenPerSecond: number;
  /** Addresses for which that is remembered. */
  readonly remembered: number;
  /**
   * A handshake that takes longer, in ms, no longer keeps others waiting: its peer is silent or far away. With `atOnce` it
   * allows 320 a second even then.
   */
  readonly slowMs: number;
  /** Once all places are taken, a connection that began longer ago, in ms, gives its own up to a new one. */
  readonly overdueMs: number;
  /** How long a connection may wait to begin, in ms: agents give up an attempt after 10 s, and then its work is lost. */
  readonly waitMs: number;
}

export const HANDSHAKE_LIMITS: HandshakeLimits = {
  total: 2048,
  perAddress: 1024,
  atOnce: 32,
  atOnceOfAddress: 24,
  unfinished: 256,
  forgivenPerSecond: 16,
  remembered: 4096,
  slowMs: 100,
  overdueMs: 2_000,
  waitMs: 5_000,
};

/** How long a client of the API may take, in ms. None of these ends what the server sends, nor a WebSocket. */
export interface RequestTimes {
  /** … for the TLS handshake, from its turn. */
  readonly handshakeMs: number;
  /** … for the headers of a request, and for the first one from the end of the handshake. */
  readonly headersMs: number;
  /** … for a whole request with its body. With the largest body this is a rate of 9 KB/s. */
  readonly requestMs: number;
  /** How often the two above are looked at. */
  readonly checkMs: number;
}

export const REQUEST_TIMES: RequestTimes = {
  handshakeMs: 10_000,
  headersMs: 15_000,
  requestMs: 30_000,
  checkMs: 1_000,
};

/** The largest PROXY header of version 2, which is what the protocol says that one packet always carries. */
export const MAX_PROXY_HEADER_BYTES = 536;
/** The longest one of version 1, with its line break. */
export const MAX_PROXY_LINE_BYTES = 107;
/** How long a balancer may take to send it, in ms. */
export const PROXY_HEADER_MS = 5_000;
/** Connections of balancers that may be without their header at a time. */
export const MAX_WITHOUT_PROXY_HEADER = 1024;
/** Addresses and networks of balancers. */
export const MAX_BALANCERS = 64;
