/** Control messages: what both ends say to each other on stream 0. Codes 0x0001 to 0x00ff. */
import Type, { type Static } from 'typebox';
import { MAX_NAME_CHARS, MAX_REASON_CHARS, MAX_TAGS } from '../limits.ts';
import { SignedRelease } from '../releases/release.ts';
import { certIssued, certRenew } from './certificate.ts';
import type { ControlKind } from './kind.ts';
import { LinkFigures } from './link.ts';
import { agentUpgrade, agentUpgradeStatus, UpgradeAbility } from './release.ts';
import { trustAck, trustUpdate } from './trust.ts';

const text = (max: number) => Type.String({ maxLength: max });
const count = Type.Integer({ minimum: 0 });
const closed = { additionalProperties: false };
/** Hellos and welcomes take fields this version does not know, so that a newer peer can add some. */
const open = { additionalProperties: true };

export const DockerState = Type.Object(
  {
    reachable: Type.Boolean(),
    version: Type.Optional(text(64)),
    apiVersion: Type.Optional(text(16)),
    /** Why it is not reachable. */
    reason: Type.Optional(text(MAX_REASON_CHARS)),
  },
  closed,
);
export type DockerState = Static<typeof DockerState>;

export const HostPolicy = Type.Object(
  { allow: Type.Array(text(64), { maxItems: 256 }), deny: Type.Array(text(64), { maxItems: 256 }) },
  closed,
);
export type HostPolicy = Static<typeof HostPolicy>;

export const Tags = Type.Array(Type.String({ minLength: 1, maxLength: MAX_NAME_CHARS, pattern: '^[\\w.:=/-]+$' }), {
  maxItems: MAX_TAGS,
  uniqueItems: true,
});

export const hello = {
  code: 0x0001,
  name: 'hello',
  from: 'agent',
  value: Type.Object(
    {
      versions: Type.Array(Type.Integer({ minimum: 1, maximum: 65535 }), { minItems: 1, maxItems: 16 }),
      agentVersion: text(64),
      /** Random per process: tells a restart of one agent from two agents with one certificate. */
      instanceId: text(64),
      hostname: text(255),
      os: text(32),
      arch: text(32),
      docker: DockerState,
      capabilities: Type.Array(text(64), { maxItems: 128 }),
      /** Kinds that the agent knows and that its policy denies: opening one is refused, and breaks nothing. */
      denied: Type.Optional(Type.Array(text(64), { maxItems: 128 })),
      policy: HostPolicy,
      /** Names of compressions that the agent can unpack. */
      compression: Type.Optional(Type.Array(text(16), { maxItems: 8 })),
      /** Whether it can replace itself by another release; absent: it does not know how. */
      upgrade: Type.Optional(UpgradeAbility),
      /** It only shows that it can connect, beside the agent that serves the host: its session serves nothing. */
      trial: Type.Optional(Type.Literal(true)),
    },
    open,
  ),
} as const satisfies ControlKind;

export const welcome = {
  code: 0x0002,
  name: 'welcome',
  from: 'server',
  value: Type.Object(
    {
      version: Type.Integer({ minimum: 1, maximum: 65535 }),
      hostId: text(64),
      hostName: text(MAX_NAME_CHARS),
      serverVersion: text(64),
      /** The server's clock, ms since 1970. */
      serverTime: count,
      heartbeatMs: Type.Integer({ minimum: 100, maximum: 300_000 }),
      silenceMs: Type.Integer({ minimum: 300, maximum: 900_000 }),
      limits: Type.Object({ frameBytes: count, windowBytes: count, streams: count }, open),
      /** Of those that the agent named, the one that both ends may use; absent: none. */
      compression: Type.Optional(Type.Literal('deflate')),
      /** The agent is to renew its certificate soon. */
      renew: Type.Optional(Type.Boolean()),
      /** What the agent may say and open beyond what the first servers knew, by name. */
      capabilities: Type.Optional(Type.Array(text(64), { maxItems: 32 })),
      /** The release that the server wishes here. */
      upgrade: Type.Optional(SignedRelease),
    },
    open,
  ),
} as const satisfies ControlKind;

export const heartbeat = {
  code: 0x0003,
  name: 'heartbeat',
  from: 'agent',
  value: Type.Object(
    {
      seq: count,
      /** The agent's clock, ms since 1970. */
      time: count,
      /** Load averages over 1, 5 and 15 minutes. */
      load: Type.Array(Type.Number({ minimum: 0 }), { minItems: 3, maxItems: 3 }),
      streams: count,
      docker: DockerState,
      /** What the agent knows of what it sends; absent: nothing, or nothing new. */
      link: Type.Optional(LinkFigures),
    },
    open,
  ),
} as const satisfies ControlKind;

export const heartbeatAck = {
  code: 0x0004,
  name: 'heartbeat.ack',
  from: 'server',
  value: Type.Object({ seq: count, time: count, renew: Type.Optional(Type.Boolean()) }, open),
} as const satisfies ControlKind;

export const ping = {
  code: 0x0005,
  name: 'ping',
  from: 'both',
  value: Type.Object({ id: count }, closed),
} as const satisfies ControlKind;

export const pong = {
  code: 0x0006,
  name: 'pong',
  from: 'both',
  value: Type.Object({ id: count }, closed),
} as const satisfies ControlKind;

export const goaway = {
  code: 0x0007,
  name: 'goaway',
  from: 'both',
  value: Type.Object(
    {
      code: text(64),
      reason: text(MAX_REASON_CHARS),
      /** The highest stream of the receiver's that the sender has taken on; higher ones were not acted upon. */
      lastStream: count,
      /** When the agent may come back. */
      retryAfterMs: Type.Optional(count),
      /** With VERSION: the versions the sender speaks. */
      versions: Type.Optional(Type.Array(Type.Integer(), { maxItems: 16 })),
    },
    open,
  ),
} as const satisfies ControlKind;

export const CONTROL_KINDS = [
  hello,
  welcome,
  heartbeat,
  heartbeatAck,
  ping,
  pong,
  goaway,
  certRenew,
  certIssued,
  trustUpdate,
  trustAck,
  agentUpgrade,
  agentUpgradeStatus,
] as const;

export type Hello = Static<typeof hello.value>;
export type Welcome = Static<typeof welcome.value>;
export type Heartbeat = Static<typeof heartbeat.value>;
export type HeartbeatAck = Static<typeof heartbeatAck.value>;
export type Goaway = Static<typeof goaway.value>;
