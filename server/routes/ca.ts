/** The CA, for whoever wants to trust this installation: public, since a certificate is no secret and the pin is compared. */
import Type from 'typebox';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { Instant } from './schemas.ts';

const CaView = Type.Object({
  fingerprint: Type.String({ description: "sha256: and the SHA-256 of the public key's SPKI, in hex" }),
  subject: Type.String(),
  notBefore: Instant,
  notAfter: Instant,
  installationId: Type.String(),
  certificate: Type.String({ description: 'PEM' }),
});

export function caRoutes(api: Api, { deps }: RouteContext): void {
  const { authority } = deps;

  api.get(
    '/ca.pem',
    {
      config: { access: 'public', scope: 'none' },
      schema: { tags: ['ca'], summary: "The CA's certificate", produces: ['application/x-pem-file'] },
    },
    async (_request, reply) => reply.type('application/x-pem-file').send(authority.caPem),
  );

  api.get(
    '/api/v1/ca',
    {
      config: { access: 'public', scope: 'none' },
      schema: { tags: ['ca'], summary: 'The CA', response: { 200: CaView } },
    },
    async () => ({
      fingerprint: authority.caFingerprint,
      subject: authority.ca.subject,
      notBefore: authority.ca.notBefore.toISOString(),
      notAfter: authority.ca.notAfter.toISOString(),
      installationId: authority.installationId,
      certificate: authority.caPem,
    }),
  );
}
