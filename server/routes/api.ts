/** The REST API, put together: server, limits, access, errors, and every family of routes. */
import { randomUUID } from 'node:crypto';
import type http from 'node:http';
import type { Duplex } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import rateLimit from '@fastify/rate-limit';
import fastify, { type FastifyBaseLogger, type FastifyHttpOptions, LogController } from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import { routedUrl } from '../docker-proxy/client-call.ts';
import { GonePeers } from '../docker-proxy/gone-peers.ts';
import type { Door } from '../doors/door.ts';
import { HostTurns, SlowTurns } from '../turns.ts';
import { guardRoutes } from './access.ts';
import { adoptionRoutes } from './adoption.ts';
import { agentFileRoutes } from './agent-files.ts';
import { agentReleaseRoutes } from './agent-releases.ts';
import { AnswerBudget } from './answer-budget.ts';
import { apiTokenRoutes } from './api-tokens.ts';
import type { Api } from './app-types.ts';
import { attachRoute } from './attach.ts';
import { auditRoutes } from './audit.ts';
import { backupRoute } from './backup.ts';
import { answerBrokenRequest, isLate } from './broken-request.ts';
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
import { diagnosticsRoute } from './diagnostics.ts';
import { dockerRoutes } from './docker.ts';
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
import { hostUpgradeRoutes } from './host-upgrades.ts';
import { hostRoutes } from './hosts.ts';
import { httpServers } from './http-server.ts';
import { imageStreamRoutes } from './image-streams.ts';
import { imageRoutes } from './images.ts';
import { DOCKER_TURNS, MAX_BODY_BYTES, PULL_TURNS, TAR_TURNS } from './limits.ts';
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
import { rolloutRoutes } from './rollouts.ts';
import { lazySerializers } from './serialization.ts';
import { stackChangeRoutes } from './stack-changes.ts';
import { stackLogsRoute } from './stack-logs.ts';
import { stackMigrationRoute } from './stack-migrations.ts';
import { stackRoutes } from './stacks.ts';
import { tcpRoute } from './tcp.ts';
import { Upgrades } from './upgrades.ts';
import { userRoutes } from './users.ts';
import { validatorCompiler } from './validation.ts';
import { volumeContentRoutes } from './volume-content.ts';
import { volumeTransferRoutes } from './volume-transfers.ts';
import { volumeRoutes } from './volumes.ts';
import { HAWSER_SOCKETS, WebSockets } from './web-sockets.ts';
import { webhookRoutes } from './webhooks.ts';

/** The longest part of a path: an image's name with its tag and digest, and some of it escaped. */
const MAX_PARAM_CHARS = 600;
/** How long requests that are still in progress may go on once the API closes, in ms. */
const CLOSE_MS = 1_500;
/** What is asked of a server that stops, too. */
const HEALTH: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/**
 * Builds the API; the caller listens on it, drains and closes it. `close` ends all streams at once, lets other requests end
 * within 1.5 s, and resolves once no connection is left.
 */
export async function buildApi(deps: ApiDeps): Promise<Api> {
  const doors: Door[] = [];
  const uploads = new WeakSet<Duplex>();
  const api: Api = fastify(httpOptions(deps, doors, uploads));
  api.setValidatorCompiler(validatorCompiler);
  api.setErrorHandler((error, request, reply) => answerProblem(error, request, reply));
  readJson(api);
  await api.register(rateLimit, { global: false });
  await collectOpenApi(api, deps.version);
  answerHeaders(api);
  countRequests(api, deps);
  refuseWhileDraining(api, deps);
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
  endOnDrain(deps, live, webSockets);
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

/**
 * @param doors gets those through which connections come
 * @param uploads connections whose body goes to a host, which takes as long as it takes
 */
function httpOptions(
  deps: ApiDeps,
  doors: Door[],
  uploads: WeakSet<Duplex>,
): FastifyHttpOptions<http.Server, FastifyBaseLogger> {
  return {
    loggerInstance: deps.logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    rewriteUrl: (request) => hawserUrl(request, routedUrl(request.url ?? '')),
    trustProxy: deps.trustProxy ? nearestProxy(deps.trustedProxies) : false,
    bodyLimit: MAX_BODY_BYTES,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_PARAM_CHARS },
    schemaController: { compilersFactory: { buildSerializer: lazySerializers } },
    serverFactory: httpServers(deps, (door) => doors.push(door)),
    clientErrorHandler: (error, socket) => {
      if (!isLate(error) || !uploads.has(socket)) answerBrokenRequest(error, socket, deps);
    },
    frameworkErrors: (error, request, reply) => void answerProblem(error, request, reply),
  };
}

function registerRoutes(api: Api, context: RouteContext): void {
  healthRoutes(api, context);
  diagnosticsRoute(api, context);
  caRoutes(api, context);
  enrollRoute(api, context);
  enrollmentTokenRoutes(api, context);
  agentFileRoutes(api, context);
  agentReleaseRoutes(api, context);
  hostRoutes(api, context);
  hostUpgradeRoutes(api, context);
  rolloutRoutes(api, context);
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
function nearestProxy(trusted: ApiDeps['trustedProxies']): (address: string, hop: number) => boolean {
  return (address, hop) => hop === 0 && trusted?.has(address) !== false;
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

function refuseWhileDraining(api: Api, { drain }: ApiDeps): void {
  api.addHook('onRequest', async (request, reply) => {
    if (drain.isUnderWay) {
      reply.header('connection', 'close');
      if (!HEALTH.has(request.routeOptions.url ?? '')) throw drain.refusal();
    }
    drain.count(reply.raw);
  });
}

function endOnDrain({ drain }: ApiDeps, live: LiveStreams, webSockets: WebSockets): void {
  drain.onBegin(() => {
    live.drain();
    // First each stream says to its own client why it ends.
    void setImmediate().then(() => webSockets.close());
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
