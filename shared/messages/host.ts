/** Kinds that concern the host itself. Codes 0x0200 to 0x02ff. */
import Type from 'typebox';
import { MAX_REASON_CHARS } from '../limits.ts';
import { DockerState } from './control.ts';
import type { StreamKind } from './kind.ts';

const count = Type.Integer({ minimum: 0 });

export const hostInfo = {
  code: 0x0200,
  name: 'host.info',
  from: 'server',
  role: 'viewer',
  policy: 'read',
  priority: 'interactive',
  params: Type.Object({}, { additionalProperties: false }),
  reply: Type.Object({
    hostname: Type.String(),
    os: Type.String(),
    arch: Type.String(),
    kernel: Type.String(),
    agentVersion: Type.String(),
    cpus: count,
    memoryBytes: count,
    uptimeSeconds: count,
    docker: DockerState,
    /** Docker's own `/info`, absent while Docker is not reachable. */
    dockerInfo: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  }),
  bytes: 'none',
} as const satisfies StreamKind;

/** The agent tells the server that its host leaves the mesh; the server revokes it. */
export const hostLeave = {
  code: 0x0201,
  name: 'host.leave',
  from: 'agent',
  role: 'admin',
  policy: 'change',
  priority: 'interactive',
  params: Type.Object({ reason: Type.String({ maxLength: MAX_REASON_CHARS }) }, { additionalProperties: false }),
  reply: Type.Object({}, { additionalProperties: false }),
  bytes: 'none',
} as const satisfies StreamKind;
