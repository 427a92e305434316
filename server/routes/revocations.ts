/** Revocations: which there are, and many of them at once. */
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_REASON_CHARS } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { NO_REASON } from './hosts.ts';
import { MAX_REVOCATION_BODY_BYTES, MAX_REVOCATIONS } from './limits.ts';
import { HostRef } from './schemas.ts';

const Serial = Type.String({ minLength: 1, maxLength: 64, pattern: '^[0-9A-Fa-f:]+$', description: 'Hex' });
const Revocations = Type.Object(
  {
    hosts: Type.Optional(Type.Array(HostRef, { maxItems: MAX_REVOCATIONS })),
    serials: Type.Optional(Type.Array(Serial, { maxItems: MAX_REVOCATIONS })),
    tag: Type.Optional(Tags.items),
    reason: Type.Optional(Type.String({ maxLength: MAX_REASON_CHARS })),
  },
  { additionalProperties: false },
);
const Revoked = Type.Object({
  hosts: Type.Array(Type.Object({ id: Type.String(), name: Type.String(), serials: Type.Array(Type.String()) })),
  certificates: Type.Array(Type.Object({ serial: Type.String(), hostId: Type.String() })),
  notFound: Type.Object({ hosts: Type.Array(Type.String()), serials: Type.Array(Type.String()) }),
});

export function revocationRoutes(api: Api, { deps }: RouteContext): void {
  api.post(
    '/api/v1/revocations',
    {
      config: { access: 'admin', scope: 'installation' },
      bodyLimit: MAX_REVOCATION_BODY_BYTES,
      schema: {
        tags: ['certificates'],
        summary: 'Revokes many hosts and certificates and closes their sessions at once',
        description: 'What does not exist is listed in the answer and holds up nothing else.',
        body: Revocations,
        response: { 200: Revoked },
      },
    },
    async (request) => {
      const { hosts = [], serials = [], tag, reason } = request.body;
      if (hosts.length + serials.length === 0 && tag === undefined) {
        throw new FairleadError('VALIDATION', 'name what to revoke: hosts, serials or a tag');
      }
      return await deps.hosts.revokeMany({ hosts, serials, tag, reason: reason || NO_REASON }, actorOf(request));
    },
  );
}
