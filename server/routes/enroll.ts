/** Where a host joins: public, since the enrollment token in the body is what counts. */
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_CSR_BYTES } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import { RefusedRequest } from '../audit/refused-request.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { publicEntry } from './limits.ts';
import { refusalLog } from './refusals.ts';
import { HostName, Instant } from './schemas.ts';
import { instant } from './views.ts';

const EnrollBody = Type.Object(
  {
    token: Type.String({ minLength: 1, maxLength: 1024 }),
    csr: Type.String({ minLength: 1, description: `PEM, at most ${MAX_CSR_BYTES} bytes` }),
    hostname: Type.String({ minLength: 1, maxLength: 255 }),
    os: Type.String({ minLength: 1, maxLength: 32 }),
    arch: Type.String({ minLength: 1, maxLength: 32 }),
    agentVersion: Type.String({ minLength: 1, maxLength: 64 }),
    name: Type.Optional(HostName),
    tags: Type.Optional(Tags),
  },
  { additionalProperties: false },
);
const Enrolled = Type.Object({
  hostId: Type.String(),
  name: Type.String(),
  certificate: Type.String({ description: 'PEM' }),
  ca: Type.String({ description: 'PEM' }),
  agentUrl: Type.String(),
  notAfter: Instant,
});

export function enrollRoute(api: Api, { deps }: RouteContext): void {
  const refused = refusalLog(api, deps, { action: 'host.enroll', perAddress: 'refusedEnrollsPerMinute' });

  api.post(
    '/api/v1/enroll',
    {
      ...publicEntry(api, deps.limits),
      schema: {
        tags: ['enrollment'],
        summary: 'Enrolls a host by its token and a certificate request',
        description:
          'The same token with the same public key gives the same certificate again as long as the token lives.',
        body: EnrollBody,
        response: { 201: Enrolled },
      },
    },
    async (request, reply) => {
      if (Buffer.byteLength(request.body.csr) > MAX_CSR_BYTES) {
        throw new FairleadError('CSR_INVALID', `the certificate request is larger than ${MAX_CSR_BYTES} bytes`);
      }
      try {
        const { hostId, name, certificate, ca, notAfter } = await deps.enrollment.redeem(request.body, request.ip);
        const { agentUrl } = deps.urls();
        return await reply.code(201).send({ hostId, name, certificate, ca, agentUrl, notAfter: instant(notAfter) });
      } catch (error) {
        if (error instanceof RefusedRequest) await refused(request, error.entry);
        throw error;
      }
    },
  );
}
