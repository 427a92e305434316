/** Kinds by which a host says what it uses. Codes 0x0220 to 0x022f. */
import Type, { type Static } from 'typebox';
import { ContainerRef } from './container.ts';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
const count = Type.Integer({ minimum: 0 });
const amount = Type.Number({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const percent = Type.Number({ minimum: 0, maximum: 100 });

const MAX_CORES = 1024;

/** Times of the processors, in per cent of what they could have worked. */
const CpuUse = Type.Object(
  {
    /** Of all cores together, 100 at most. */
    percent,
    /** What they did, where the host says it. */
    user: Type.Optional(percent),
    system: Type.Optional(percent),
    /** Idle, but with something that waits for a disk: no part of `percent`. */
    iowait: Type.Optional(percent),
    /** Taken away by the hypervisor. */
    steal: Type.Optional(percent),
    /** As `percent`, of each core; none where the host does not say it. */
    cores: Type.Array(percent, { maxItems: MAX_CORES }),
  },
  closed,
);
const MemoryUse = Type.Object(
  {
    totalBytes: count,
    /** All but what programs could still have, caches included. */
    usedBytes: count,
    availableBytes: count,
  },
  closed,
);
const SwapUse = Type.Object({ totalBytes: count, usedBytes: count }, closed);
const DiskUse = Type.Object(
  {
    totalBytes: count,
    usedBytes: count,
    /** To others than root. */
    availableBytes: count,
  },
  closed,
);
const NetworkUse = Type.Object({ receivedBytesPerSecond: amount, sentBytesPerSecond: amount }, closed);

/** What a host used since its sample before, and what it has now. What it could not find out is left out. */
export const HostSample = Type.Object(
  {
    /** The agent's clock, ms since 1970. */
    at: count,
    uptimeSeconds: count,
    cpu: Type.Optional(CpuUse),
    /** Load averages over 1, 5 and 15 minutes. */
    load: Type.Optional(Type.Array(amount, { minItems: 3, maxItems: 3 })),
    memory: Type.Optional(MemoryUse),
    swap: Type.Optional(SwapUse),
    /** The disk that Docker keeps its data on. */
    disk: Type.Optional(DiskUse),
    network: Type.Optional(NetworkUse),
  },
  closed,
);
export type HostSample = Static<typeof HostSample>;

/**
 * A sample about the time since the look at the counters that `since` names, which an earlier reply did; without one that the
 * agent still knows, about a second from now on. One call for each: a stream of them would hold a window for each host, for
 * ever, and hold up the end of its session.
 */
export const hostMetrics = {
  code: 0x0220,
  name: 'host.metrics',
  from: 'server',
  role: 'viewer',
  policy: 'read',
  priority: 'interactive',
  compressible: true,
  params: Type.Object({ since: Type.Optional(count) }, closed),
  reply: Type.Object({ reading: count, sample: HostSample }, closed),
  bytes: 'none',
} as const satisfies StreamKind;

/** What one container uses, as `docker stats` counts it. */
export const ContainerUse = Type.Object(
  {
    id: ContainerRef,
    name: Type.String({ maxLength: 255 }),
    /** Of one core: 200 is two whole ones. */
    cpuPercent: Type.Optional(amount),
    /** Without the caches that the kernel can take back; the limit is the host's memory where there is none. */
    memory: Type.Optional(Type.Object({ usedBytes: amount, limitBytes: amount }, closed)),
    /** Since the container was started, here and below. */
    network: Type.Optional(Type.Object({ receivedBytes: amount, sentBytes: amount }, closed)),
    blockIo: Type.Optional(Type.Object({ readBytes: amount, writtenBytes: amount }, closed)),
    pids: Type.Optional(count),
    /** Why there are no figures of this one. */
    error: Type.Optional(
      Type.Object({ code: Type.String({ maxLength: 64 }), message: Type.String({ maxLength: 1024 }) }, closed),
    ),
  },
  closed,
);
export type ContainerUse = Static<typeof ContainerUse>;

/** One item for each running container, in no order. */
export const hostStats = {
  code: 0x0221,
  name: 'host.stats',
  from: 'server',
  role: 'viewer',
  policy: 'read',
  priority: 'interactive',
  compressible: true,
  params: Type.Object({}, closed),
  reply: Type.Object({ count }, closed),
  item: ContainerUse,
  bytes: 'none',
} as const satisfies StreamKind;
