/** One suite for the mux, over every transport. */
import { memoryNetwork, mtlsWsNetwork, plainWsNetwork } from '../support/mux-transports.ts';
import { muxConformance } from './mux-suite.ts';

muxConformance('memory', memoryNetwork);
muxConformance('a plain WebSocket', plainWsNetwork);
muxConformance('a WebSocket with mutual TLS', mtlsWsNetwork);
