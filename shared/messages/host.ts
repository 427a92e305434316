/** Kinds that concern the host itself. Codes 0x0200 to 0x02ff. */
import Type from 'typebox';
import { MAX_REASON_CHARS } from '../limits.ts';
import { DockerState } from './control.ts';
import type { StreamKind } from './kind.ts';

const count = Type.Integer({ minimum: 0 });
const closed = { additionalProperties: false };
/** The most that one throughput test sends in one direction, and how long it may go on: enough to measure, no weapon. */
export const MAX_THROUGHPUT_BYTES = 256 * 1024 * 1024;
const testBytes = Type.Integer({ minimum: 0, maximum: MAX_THROUGHPUT_BYTES });
export const MAX_THROUGHPUT_MS = 5_000;

export const hostInfo = {
  code: 0x0200,
  name: 'host.info',
  from: 'server',
  role: 'viewer',
  policy: 'read',
  priority: 'interactive',
  compressible: true,
  params: Type.Object({}, { additionalProperties: false }),
  reply: Type.Object({
    hostname: Type.String(),
    os: Type.String(),
    arch: Type.String(),
    kernel: Type.String(),
    agentVersion: Type.String(),
    cpus: count,
    memoryBytes: count,
    /** Absent where the agent has not said it (yet). */
    uptimeSeconds: Type.Optional(count),
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

/**
 * Measures what the link takes. The acceptor sends bytes that nothing can compress until `sendBytes` or `ms` are used up,
 * and counts what comes until the opener's END, or until `ms` and some grace are over.
 */
export const hostThroughput = {
  code: 0x0202,
  name: 'host.throughput',
  from: 'server',
  role: 'operator',
  policy: 'read',
  priority: 'bulk',
  params: Type.Object(
    {
      sendBytes: Type.Integer({ minimum: 0, maximum: MAX_THROUGHPUT_BYTES }),
      ms: Type.Integer({ minimum: 1, maximum: MAX_THROUGHPUT_MS }),
    },
    closed,
  ),
  reply: Type.Object({}, closed),
  /** All that came, and of it what came once the link was warm, with the time that took. */
  trailer: Type.Object(
    { receivedBytes: testBytes, countedBytes: testBytes, countedMs: Type.Number({ minimum: 0, maximum: 600_000 }) },
    closed,
  ),
  bytes: 'both',
} as const satisfies StreamKind;
