/** The REST API, put together: server, limits, access, errors, and every family of routes. */
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { Duplex } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import rateLimit from '@fastify/rate-limit';
import fastify, {
  type FastifyBaseLogger,
  type FastifyHttpOptions,
  type FastifyServerFactory,
  LogController,
} from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import { routedUrl } from '../docker-proxy/client-call.ts';
import { GonePeers } from '../docker-proxy/gone-peers.ts';
import type { Door } from '../doors/door.ts';
import { guardServer } from '../doors/guard.ts';
import { REQUEST_TIMES } from '../doors/limits.ts';
import { PROBLEM_TYPE, problemOf } from '../problem.ts';
import { Tally } from '../tally.ts';
import { HostTurns, SlowTurns } from '../turns.ts';
import { guardRoutes } from './access.ts';
import { adoptionRoutes } from './adoption.ts';
import { agentFileRoutes } from './agent-files.ts';
import { AnswerBudget } from './answer-budget.ts';
import { apiTokenRoutes } from './api-tokens.ts';
import type { Api } from './app-types.ts';
import { attachRoute } from './attach.ts';
import { auditRoutes } from './audit.ts';
import { backupRoute } from './backup.ts';
import { bulkRoutes } from './bulk.ts';
import { caRoutes } from './ca.ts';
import { certificateRoutes } from './certificates.ts';
import { containerArchiveRoutes } from './container-archive.ts';
import { containerListRoutes } from './container-lists.ts';
import { containerMakeRoutes } from './container-make.ts';
import { containerStreamRoutes } from './container-streams.ts';
import { containerRoutes } from './containers.ts';
import type { RouteContext } from './context.ts';
import type { ApiDeps } from './deps.ts';
import { dockerRoutes } from './docker.ts';
import { endSocket } from './end-socket.ts';
import { enrollRoute } from './enroll.ts';
import { enrollmentTokenRoutes } from './enrollment-tokens.ts';
import { eventRoutes } from './events.ts';
import { execRoute } from './exec.ts';
import { execRunRoute } from './exec-run.ts';
import { fleetListRoutes } from './fleet-lists.ts';
import { hawserConnectRoutes } from './hawser-connect.ts';
import { hawserHostRoutes } from './hawser-hosts.ts';
import { hawserUrl } from './hawser-path.ts';
import { hawserTokenRoutes } from './hawser-tokens.ts';
import { healthRoutes } from './health.ts';
import { hostLinks } from './host-links.ts';
import { hostMetricsRoutes } from './host-metrics.ts';
import { hostPingRoutes } from './host-ping.ts';
import { hostStatsRoute } from './host-stats.ts';
import { hostRoutes } from './hosts.ts';
import { imageStreamRoutes } from './image-streams.ts';
import { imageRoutes } from './images.ts';
import {
  CONNECTION_PLACES,
  DOCKER_TURNS,
  MAX_BODY_BYTES,
  MAX_CONNECTIONS,
  MAX_HEADER_BYTES,
  PULL_TURNS,
  TAR_TURNS,
} from './limits.ts';
import { LiveStreams } from './live-streams.ts';
import { loginRoutes } from './logins.ts';
import { LostCalls } from './lost-calls.ts';
import { networkRoutes } from './networks.ts';
import { collectOpenApi, openApiRoutes } from './openapi.ts';
import { operatorCertificateRoutes } from './operator-certificates.ts';
import { answerProblem } from './problem.ts';
import { pruneRoutes } from './prunes.ts';
import { recoveryRoutes } from './recoveries.ts';
import { revocationRoutes } from './revocations.ts';
import { stackChangeRoutes } from './stack-changes.ts';
import { stackLogsRoute } from './stack-logs.ts';
import { stackMigrationRoute } from './stack-migrations.ts';
import { stackRoutes } from './stacks.ts';
import { tcpRoute } from './tcp.ts';
import { asksForUpgrade, Upgrades } from './upgrades.ts';
import { userRoutes } from './users.ts';
import { validatorCompiler } from './validation.ts';
import { volumeContentRoutes } from './volume-content.ts';
import { volumeTransferRoutes } from './volume-transfers.ts';
import { volumeRoutes } from './volumes.ts';
import { HAWSER_SOCKETS, WebSockets } from './web-sockets.ts';
import { webhookRoutes } from './webhooks.ts';

/** The longest part of a path: an image's name with its tag and digest, and some of it escaped. */
const MAX_PARAM_CHARS = 600;
/** How soon a silent connection is probed, so that a client whose machine is gone does not hold a stream. */
const KEEP_ALIVE_PROBE_MS = 15_000;
const IDLE_CONNECTION_MS = 75_000;
/** How long requests in progress may go on once the API closes. */
const CLOSE_MS = 3_000;

/**
 * Builds the API; the caller listens on it and closes it. `close` ends all streams at once, lets other requests end within
 * 3 s, and resolves once no connection is left.
 */
export async function buildApi(deps: ApiDeps): Promise<Api> {
  const doors: Door[] = [];
  const uploads = new WeakSet<Duplex>();
  const options: FastifyHttpOptions<http.Server, FastifyBaseLogger> = {
    loggerInstance: deps.logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    rewriteUrl: (request) => hawserUrl(request, routedUrl(request.url ?? '')),
    trustProxy: deps.trustProxy ? isNearestProxy : false,
    bodyLimit: MAX_BODY_BYTES,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_PARAM_CHARS },
    serverFactory: serverFactory(deps, (door) => doors.push(door)),
    clientErrorHandler: (error, socket) => {
      // A body that goes to a host takes as long as it takes.
      if (!isLate(error) || !uploads.has(socket)) answerBrokenRequest(error, socket, deps);
    },
    frameworkErrors: (error, request, reply) => void answerProblem(error, request, reply),
  };
  const api: Api = fastify(options);
  api.setValidatorCompiler(validatorCompiler);
  api.setErrorHandler((error, request, reply) => answerProblem(error, request, reply));
  readJson(api);
  await api.register(rateLimit, { global: false });
  await collectOpenApi(api, deps.version);
  answerHeaders(api);
  countRequests(api, deps);
  guardRoutes(api, deps);
  keepPlaces(api, doors);
  api.setNotFoundHandler((request, reply) => {
    const error = new FairleadError('NOT_FOUND', `there is no ${request.method} ${request.url.split('?')[0]}`);
    return answerProblem(error, request, reply);
  });
  const upgrades = new Upgrades(deps.clock);
  const gonePeers = new GonePeers(deps.clock);
  const webSockets = new WebSockets(deps.clock, upgrades);
  const hawserSockets = new WebSockets(deps.clock, upgrades, HAWSER_SOCKETS);
  const { apiTokens, operatorCertificates, logins, hosts } = deps;
  const live = new LiveStreams({ credentials: [apiTokens, operatorCertificates, logins], hosts }, deps.clock);
  upgrades.mount(api);
  endOnClose(api, deps, live, [webSockets, hawserSockets]);
  const links = hostLinks(api, deps);
  registerRoutes(api, {
    deps,
    links,
    live,
    lostCalls: new LostCalls(deps.clock),
    upgrades,
    webSockets,
    hawserSockets,
    keepPlace: (socket, who) => {
      for (const door of doors) door.use(socket, who);
    },
    uploads,
    gonePeers,
    dockerTurns: new HostTurns(DOCKER_TURNS),
    pullTurns: new SlowTurns(PULL_TURNS, deps.clock),
    tarTurns: new SlowTurns(TAR_TURNS, deps.clock),
    answers: new AnswerBudget(),
  });
  await api.ready();
  return api;
}

function registerRoutes(api: Api, context: RouteContext): void {
  healthRoutes(api, context);
  caRoutes(api, context);
  enrollRoute(api, context);
  enrollmentTokenRoutes(api, context);
  agentFileRoutes(api, context);
  hostRoutes(api, context);
  hostPingRoutes(api, context);
  hostMetricsRoutes(api, context);
  hostStatsRoute(api, context);
  certificateRoutes(api, context);
  revocationRoutes(api, context);
  recoveryRoutes(api, context);
  containerListRoutes(api, context);
  fleetListRoutes(api, context);
  bulkRoutes(api, context);
  containerRoutes(api, context);
  containerMakeRoutes(api, context);
  containerStreamRoutes(api, context);
  execRoute(api, context);
  execRunRoute(api, context);
  attachRoute(api, context);
  containerArchiveRoutes(api, context);
  stackRoutes(api, context);
  stackChangeRoutes(api, context);
  stackLogsRoute(api, context);
  stackMigrationRoute(api, context);
  imageRoutes(api, context);
  imageStreamRoutes(api, context);
  networkRoutes(api, context);
  volumeRoutes(api, context);
  pruneRoutes(api, context);
  tcpRoute(api, context);
  dockerRoutes(api, context);
  volumeContentRoutes(api, context);
  volumeTransferRoutes(api, context);
  apiTokenRoutes(api, context);
  hawserTokenRoutes(api, context);
  adoptionRoutes(api, context);
  hawserHostRoutes(api, context);
  hawserConnectRoutes(api, context);
  operatorCertificateRoutes(api, context);
  userRoutes(api, context);
  loginRoutes(api, context);
  eventRoutes(api, context);
  webhookRoutes(api, context);
  auditRoutes(api, context);
  backupRoute(api, context);
  openApiRoutes(api);
}

/** Only what our own peer has put last counts: whatever stands before it in the header may be the client's invention. */
function isNearestProxy(_address: string, hop: number): boolean {
  return hop === 0;
}

/** @param onDoor is given the door before each server that is made */
function serverFactory(deps: ApiDeps, onDoor: (door: Door) => void): FastifyServerFactory<http.Server> {
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

/** Connections of whoever is known keep their place from here to the end of the answer, or of the WebSocket. */
function keepPlaces(api: Api, doors: readonly Door[]): void {
  api.addHook('onRequest', async ({ principal, raw: { socket } }, { raw: response }) => {
    if (principal === undefined) return;
    for (const door of doors) response.once('close', door.use(socket, principal.tokenId));
  });
}

/** JSON bodies; an empty one is no body, whatever its content type says. */
function readJson(api: Api): void {
  const parse = api.getDefaultJsonParser('error', 'error');
  api.removeContentTypeParser(['application/json', 'text/plain']);
  api.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else void parse(request, body as string, done);
  });
}

function answerHeaders(api: Api): void {
  api.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    reply.header('x-content-type-options', 'nosniff');
    reply.header('cache-control', 'no-store');
  });
}

function countRequests(api: Api, { metrics }: ApiDeps): void {
  api.addHook('onResponse', async (request, reply) => {
    const route = request.is404 ? 'unknown' : (request.routeOptions.url ?? 'unknown');
    metrics.httpRequest(request.method, route, reply.statusCode);
    // The path without its query, which may hold what a process is started with.
    const path = request.url.split('?')[0];
    request.log.debug({ method: request.method, path, status: reply.statusCode, ms: reply.elapsedTime }, 'answered');
  });
}

function endOnClose(api: Api, { clock, hawser }: ApiDeps, live: LiveStreams, webSockets: readonly WebSockets[]): void {
  api.addHook('preClose', async () => {
    live.close();
    // First each stream says to its own client why it ends.
    await setImmediate();
    hawser.edge?.close();
    const ended = hawser.hosts.close();
    for (const each of webSockets) each.close();
    clock.setTimeout(() => api.server.closeAllConnections(), CLOSE_MS);
    await ended;
  });
}

/** Answers what is no HTTP at all, or no TLS, or breaks its limits, and closes the connection. */
function answerBrokenRequest(error: Error & { code?: string }, socket: Duplex, deps: ApiDeps): void {
  // An answer that is under way, to a body that does not come, would be broken by another one.
  const isAnswered = (socket as Partial<{ bytesWritten: number }>).bytesWritten !== 0;
  if (error.code === 'ECONNRESET' || socket.destroyed || (isLate(error) && isAnswered)) {
    socket.destroy();
    return;
  }
  const problem = problemOf(brokenRequest(error.code, deps), randomUUID());
  const body = JSON.stringify(problem);
  endSocket(
    socket,
    deps.clock,
    `HTTP/1.1 ${problem.status} ${http.STATUS_CODES[problem.status]}\r\n` +
      `content-type: ${PROBLEM_TYPE}\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function isLate({ code }: { readonly code?: string }): boolean {
  return code === 'ERR_HTTP_REQUEST_TIMEOUT';
}

function brokenRequest(code: string | undefined, { requestTimes }: ApiDeps): FairleadError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    const { headersMs, requestMs } = { ...REQUEST_TIMES, ...requestTimes };
    const limits = `its headers may take ${headersMs / 1000} s, and all of it ${requestMs / 1000} s`;
    return new FairleadError('REQUEST_TIMEOUT', `the request did not come in time: ${limits}`);
  }
  const isTooLarge = code === 'HPE_HEADER_OVERFLOW';
  const detail = isTooLarge ? `the headers are larger than ${MAX_HEADER_BYTES} bytes` : 'this is no valid HTTP request';
  return new FairleadError('VALIDATION', detail);
}
