/** Hosts that come back without a certificate that counts: where they ask, and where people decide. */
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_CSR_BYTES } from '../../shared/limits.ts';
import { RefusedRequest } from '../audit/refused-request.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { publicEntry } from './limits.ts';
import { refusalLog } from './refusals.ts';
import { HostParams, HostView, IdParams, Instant, NoContent, PageQuery, pageOf, RecoveryView } from './schemas.ts';
import { hostView, instant, pageRequest, pageView, recoveryView } from './views.ts';

const RecoverBody = Type.Object(
  {
    certificate: Type.String({ minLength: 1, description: "The host's last certificate, in PEM" }),
    csr: Type.String({ minLength: 1, description: `For a new key; PEM, at most ${MAX_CSR_BYTES} bytes` }),
    proof: Type.String({ minLength: 1, maxLength: 2048, description: 'A signature by the last key, in base64' }),
  },
  { additionalProperties: false },
);
const Recovered = Type.Object({ certificate: Type.String({ description: 'PEM' }), notAfter: Instant });
const Waiting = Type.Object({ status: Type.Literal('pending') }, { description: 'Nobody has decided: ask again' });

export function recoveryRoutes(api: Api, context: RouteContext): void {
  recoverRoute(api, context);
  decisionRoutes(api, context);

  api.post(
    '/api/v1/hosts/:host/release',
    {
      config: { access: 'admin', scope: 'host' },
      schema: {
        tags: ['hosts'],
        summary: 'Lets a host in quarantine in again',
        params: HostParams,
        response: { 200: HostView },
      },
    },
    async (request) => {
      const { hosts, quarantine } = context.deps;
      const { id } = await hosts.get(request.params.host);
      await quarantine.release(id, actorOf(request));
      return hostView(await hosts.get(id));
    },
  );
}

/** Public, since the proof in the body is what counts. */
function recoverRoute(api: Api, { deps }: RouteContext): void {
  const refused = refusalLog(api, deps, { action: 'host.recover', perAddress: 'refusedEnrollsPerMinute' });

  api.post(
    '/api/v1/recover',
    {
      ...publicEntry(api, deps.limits),
      schema: {
        tags: ['recoveries'],
        summary: 'Asks for a new certificate by the key of one that has expired, or that this server does not know',
        description: 'The same request is sent again until somebody has decided.',
        body: RecoverBody,
        response: { 201: Recovered, 202: Waiting },
      },
    },
    async (request, reply) => {
      if (Buffer.byteLength(request.body.csr) > MAX_CSR_BYTES) {
        throw new FairleadError('CSR_INVALID', `the certificate request is larger than ${MAX_CSR_BYTES} bytes`);
      }
      try {
        const issued = await deps.recovery.request(request.body, request.ip);
        if (issued === undefined) return await reply.code(202).send({ status: 'pending' as const });
        const { certificate, notAfter } = issued;
        return await reply.code(201).send({ certificate, notAfter: instant(notAfter) });
      } catch (error) {
        if (error instanceof RefusedRequest) await refused(request, error.entry);
        throw error;
      }
    },
  );
}

function decisionRoutes(api: Api, { deps }: RouteContext): void {
  api.get(
    '/api/v1/recoveries',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['recoveries'],
        summary: 'Lists the hosts that ask for a new certificate, newest first',
        querystring: PageQuery,
        response: { 200: pageOf(RecoveryView) },
      },
    },
    async ({ query }) => pageView(await deps.recovery.list(pageRequest(query)), recoveryView),
  );

  api.post(
    '/api/v1/recoveries/:id/approve',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['recoveries'],
        summary: 'Gives the host a certificate, for the very key that it asked with',
        params: IdParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.recovery.approve(request.params.id, actorOf(request));
      return reply.code(204).send(null);
    },
  );

  api.post(
    '/api/v1/recoveries/:id/deny',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['recoveries'],
        summary: 'Denies the host a certificate; its agent gives up',
        params: IdParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.recovery.deny(request.params.id, actorOf(request));
      return reply.code(204).send(null);
    },
  );
}
