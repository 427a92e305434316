/** Certificates of agents: which were issued, and which no longer count. */
import { actorOf, scopeOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { NO_REASON, RevokeBody } from './hosts.ts';
import { CertificateView, NoContent, PageQuery, pageOf, SerialParams } from './schemas.ts';
import { certificateView, pageRequest, pageView } from './views.ts';

export function certificateRoutes(api: Api, { deps }: RouteContext): void {
  api.get(
    '/api/v1/certificates',
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['certificates'],
        summary: 'Lists the certificates of agents, newest first',
        querystring: PageQuery,
        response: { 200: pageOf(CertificateView) },
      },
    },
    async (request) =>
      pageView(await deps.hosts.certificates(pageRequest(request.query), scopeOf(request)), certificateView),
  );

  api.get(
    '/api/v1/revocations',
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['certificates'],
        summary: 'Lists the certificates that are revoked',
        querystring: PageQuery,
        response: { 200: pageOf(CertificateView) },
      },
    },
    async (request) =>
      pageView(await deps.hosts.revocations(pageRequest(request.query), scopeOf(request)), certificateView),
  );

  api.post(
    '/api/v1/certificates/:serial/revoke',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['certificates'],
        summary: 'Revokes a certificate and closes the sessions that it opened',
        params: SerialParams,
        body: RevokeBody,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const serial = request.params.serial.replaceAll(':', '').toUpperCase();
      await deps.hosts.revokeSerial(serial, request.body?.reason || NO_REASON, actorOf(request));
      return reply.code(204).send(null);
    },
  );
}
