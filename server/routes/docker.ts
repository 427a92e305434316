/** The Docker Engine API of a host, byte for byte: what an unmodified Docker client takes for its Engine. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { fits } from '../../shared/validate.ts';
import { allows } from '../access/roles.ts';
import { factsOf } from '../docker-proxy/call-facts.ts';
import { type ClientCall, readClientCall } from '../docker-proxy/client-call.ts';
import { isOpenEnded } from '../docker-proxy/open-ended.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { refusalOf } from './audited.ts';
import type { RouteContext } from './context.ts';
import { dropRest, runExchange } from './docker-exchange.ts';
import { answerDockerProblem } from './problem.ts';
import { refusalLog } from './refusals.ts';
import { HostRef } from './schemas.ts';

/** Those that Docker's API has. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'];

export function dockerRoutes(api: Api, context: RouteContext): void {
  const forbidden = refusalLog(api, context.deps, { action: 'forbidden', perAddress: 'refusedLoginsPerMinute' });
  const handle = handler(context, forbidden);
  const onlyHost = hostOfCaller(context, forbidden);
  void api.register((scope, _options, done) => {
    // Bodies are read by nobody here, whatever they say that they are: they go on as they come.
    scope.addHook('onRequest', async ({ raw }) => void delete raw.headers['content-type']);
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null));
    const common = { bodyLimit: Number.MAX_SAFE_INTEGER, errorHandler: answerDockerProblem };
    scope.route({
      ...common,
      method: METHODS,
      url: '/api/v1/hosts/:host/docker/*',
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['docker'],
        summary: "The host's Docker Engine API, as it is",
        description:
          'For unmodified Docker clients: `DOCKER_HOST=tcp://SERVER:PORT/api/v1/hosts/HOST/docker`, with an ' +
          '`Authorization` header (`HttpHeaders` in `config.json`) or a client certificate. Each call needs a role of its ' +
          'own: most reads viewer, changes operator, what is not known admin. Problems have a `message`, as in Docker.',
        params: Type.Object({ host: HostRef, '*': Type.String() }),
      },
      handler: (request, reply) => handle(request, reply, (request.params as { host: string }).host),
    });
    scope.route({
      ...common,
      method: METHODS,
      url: '/api/v1/docker/*',
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['docker'],
        summary: 'The Docker Engine API of the one host that the caller may use',
        description:
          'Or of the host that the header `X-Fairlead-Host` names. Requests for paths of that API at the root come here, ' +
          'too: for clients that know no path in `DOCKER_HOST`, and for the connections of BuildKit, for which none does.',
        params: Type.Object({ '*': Type.String() }),
      },
      handler: async (request, reply) => handle(request, reply, await onlyHost(request)),
    });
    done();
  });
}

/** Makes what serves a request, once its host is known. */
function handler(context: RouteContext, forbidden: RefusalLog) {
  const { live, upgrades, uploads } = context;
  const refuse = refusals(forbidden);
  return async (request: FastifyRequest, reply: FastifyReply, host: string): Promise<FastifyReply> => {
    const call = readClientCall(request.raw);
    await refuse(request, host, call);
    const isUpgrade = upgrades.has(request);
    const lasting = isOpenEnded(call, isUpgrade) ? 'endless' : 'ends';
    const stream = live.beginFor(reply.raw, principalOf(request), lasting);
    const { socket } = request.raw;
    const onUpload = () => uploads.add(socket);
    try {
      await runExchange({ request, reply, host, call, live: stream, isUpgrade, onUpload }, context);
    } catch (error) {
      // What fails once the answer has begun has broken it off.
      if (!reply.sent) throw error;
      request.log.debug({ err: error }, 'an exchange with Docker was interrupted');
    } finally {
      stream.release();
      uploads.delete(socket);
      if (!isUpgrade && call.body !== 'none') dropRest(request.raw, context);
    }
    return reply;
  };
}

type RefusalLog = ReturnType<typeof refusalLog>;

/**
 * Makes what finds the host of a request that names none in its path, and throws FairleadError VALIDATION or HOST_NOT_FOUND
 * where there is none.
 */
function hostOfCaller({ deps }: RouteContext, forbidden: RefusalLog) {
  return async (request: FastifyRequest): Promise<string> => {
    const principal = principalOf(request);
    const { scope } = principal;
    const only = scope?.tags.length === 0 && scope.hosts.length === 1 ? scope.hosts[0] : undefined;
    const host = request.headers['x-fairlead-host'] ?? only;
    if (!fits(HostRef, host)) {
      throw new FairleadError(
        'VALIDATION',
        "this was asked for without the path of a host, as Docker's clients do for BuildKit: name the host by a header " +
          'X-Fairlead-Host beside Authorization in HttpHeaders of config.json, or use a token or certificate for that ' +
          'host alone, as `fairlead docker-context` makes one',
      );
    }
    if (scope === undefined) return host;
    try {
      const hostId = await deps.hosts.idInScope(host, scope);
      request.principal = { ...principal, hostId };
      return hostId;
    } catch (error) {
      if (isFairleadError(error, 'HOST_NOT_FOUND')) {
        const action = `${request.method} ${request.routeOptions.url ?? ''}`;
        await forbidden(request, refusalOf(request, { action, target: host, detail: { code: error.code } }));
      }
      throw error;
    }
  };
}

/** Makes what throws FairleadError FORBIDDEN for calls that the caller's role does not have. */
function refusals(forbidden: RefusalLog) {
  return async (request: FastifyRequest, host: string, call: ClientCall): Promise<void> => {
    const lack = lackOfRole(request, call);
    if (lack === undefined) return;
    const { action, target, detail } = factsOf(call, host);
    await forbidden(request, refusalOf(request, { action, target, detail }));
    throw lack;
  };
}

function lackOfRole(request: FastifyRequest, { call, method, path }: ClientCall): FairleadError | undefined {
  const { name, role } = principalOf(request);
  if (allows(role, call.role)) return undefined;
  const detail = `${method} /${path.join('/')} needs the role ${call.role}; ${name} has the role ${role}`;
  return new FairleadError('FORBIDDEN', detail);
}
