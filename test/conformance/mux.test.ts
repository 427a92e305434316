/** The suites for the mux, over every transport. */
import { memoryNetwork, mtlsWsNetwork, plainWsNetwork } from '../support/mux-transports.ts';
import { muxEndsConformance } from './mux-ends-suite.ts';
import { muxConformance } from './mux-suite.ts';

for (const conformance of [muxConformance, muxEndsConformance]) {
  conformance('memory', memoryNetwork);
  conformance('a plain WebSocket', plainWsNetwork);
  conformance('a WebSocket with mutual TLS', mtlsWsNetwork);
}
