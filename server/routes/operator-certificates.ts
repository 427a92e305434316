/** Client certificates by which people and programs use the API without a token. */
import Type from 'typebox';
import { MAX_CSR_BYTES } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import {
  HostRefs,
  Instant,
  Label,
  NoContent,
  OperatorCertificateView,
  PageQuery,
  pageOf,
  RoleName,
  SerialParams,
} from './schemas.ts';
import { instant, operatorCertificateView, pageRequest, pageView } from './views.ts';

const DAY_SECONDS = 24 * 60 * 60;
const NewCertificate = Type.Object(
  {
    csr: Type.String({ minLength: 1, maxLength: MAX_CSR_BYTES, description: 'PEM; its key alone is taken' }),
    name: Label,
    role: RoleName,
    ttlSeconds: Type.Optional(
      Type.Integer({ minimum: 60, maximum: 365 * DAY_SECONDS, description: '90 days unless given' }),
    ),
    hosts: Type.Optional(HostRefs),
    tags: Type.Optional(Tags),
  },
  { additionalProperties: false },
);
const Created = Type.Object({
  id: Type.String(),
  serial: Type.String(),
  certificate: Type.String({ description: 'PEM' }),
  ca: Type.String({ description: 'PEM' }),
  notAfter: Instant,
});

export function operatorCertificateRoutes(api: Api, { deps }: RouteContext): void {
  api.post(
    '/api/v1/operator-certificates',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['operator-certificates'],
        summary: 'Issues a client certificate for the API',
        body: NewCertificate,
        response: { 201: Created },
      },
    },
    async (request, reply) => {
      const made = await deps.operatorCertificates.create(request.body, actorOf(request));
      const { serial, operatorId, certificate, ca, notAfter } = made;
      return reply.code(201).send({ id: operatorId, serial, certificate, ca, notAfter: instant(notAfter) });
    },
  );

  api.get(
    '/api/v1/operator-certificates',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['operator-certificates'],
        summary: 'Lists the client certificates for the API, newest first',
        querystring: PageQuery,
        response: { 200: pageOf(OperatorCertificateView) },
      },
    },
    async ({ query }) => {
      const page = await deps.operatorCertificates.list(pageRequest(query));
      return pageView(page, (row) => operatorCertificateView(row, deps.clock.now()));
    },
  );

  api.delete(
    '/api/v1/operator-certificates/:serial',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['operator-certificates'],
        summary: 'Revokes a client certificate; its open streams end within a second',
        params: SerialParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.operatorCertificates.revoke(request.params.serial.replaceAll(':', ''), actorOf(request));
      return reply.code(204).send(null);
    },
  );
}
