/** The HTTP server below Fastify, with its limits and the door before it. */
import http from 'node:http';
import https from 'node:https';
import type { FastifyServerFactory } from 'fastify';
import type { Door } from '../doors/door.ts';
import { guardServer } from '../doors/guard.ts';
import { REQUEST_TIMES } from '../doors/limits.ts';
import { Tally } from '../tally.ts';
import type { ApiDeps } from './deps.ts';
import { CONNECTION_PLACES, MAX_CONNECTIONS, MAX_HEADER_BYTES } from './limits.ts';
import { asksForUpgrade } from './upgrades.ts';

/** How soon a silent connection is probed, so that a client whose machine is gone does not hold a stream. */
const KEEP_ALIVE_PROBE_MS = 15_000;
const IDLE_CONNECTION_MS = 75_000;

/** @param onDoor is given the door before each server that is made */
export function httpServers(deps: ApiDeps, onDoor: (door: Door) => void): FastifyServerFactory<http.Server> {
  return (handler) => {
    const { https: tls, clock, logger, balancers } = deps;
    const { handshakeMs, headersMs, requestMs, checkMs } = { ...REQUEST_TIMES, ...deps.requestTimes };
    const options = {
      maxHeaderSize: MAX_HEADER_BYTES,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
      keepAliveTimeout: IDLE_CONNECTION_MS,
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: checkMs,
      // Other upgrades that clients offer are ignored, as HTTP allows.
      shouldUpgradeCallback: asksForUpgrade,
    };
    const server =
      tls === undefined
        ? http.createServer(options, handler)
        : // Fastify and the routes use only what both kinds of server have.
          (https.createServer(
            // What waits at the door is not read.
            { ...options, pauseOnConnect: true, handshakeTimeout: handshakeMs, ...tls },
            handler,
          ) as unknown as http.Server);
    const places = deps.connectionPlaces ?? CONNECTION_PLACES;
    onDoor(guardServer(server, { clock, log: logger, balancers, places }));
    server.maxConnections = MAX_CONNECTIONS;
    const dropped = new Tally(clock, (connections) =>
      logger.warn({ connections, limit: MAX_CONNECTIONS }, 'the API dropped connections: too many are open'),
    );
    server.on('drop', () => dropped.add());
    return server;
  };
}
