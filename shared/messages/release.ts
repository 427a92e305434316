/** What server and agent say of releases of the agent. Codes 0x0010, 0x0011 and 0x0a00 to 0x0aff. */
import Type, { type Static } from 'typebox';
import { MAX_REASON_CHARS } from '../limits.ts';
import { MAX_EXECUTABLE_BYTES, Release, SignedRelease } from '../releases/release.ts';
import type { ControlKind, StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
const open = { additionalProperties: true };
const fileBytes = Type.Integer({ minimum: 0, maximum: MAX_EXECUTABLE_BYTES });

/** What an agent says of itself in its hello. */
export const UpgradeAbility = Type.Object(
  {
    /** Whether it can replace itself by a release. */
    able: Type.Boolean(),
    /** Why not. */
    reason: Type.Optional(Type.String({ maxLength: MAX_REASON_CHARS })),
    /** The highest sequence of a release that it has run; 0: none. */
    sequence: Type.Integer({ minimum: 0 }),
    /** Sequences that it has tried in vain and does not try again; the latest ones. */
    refused: Type.Optional(Type.Array(Release.properties.sequence, { maxItems: 16 })),
  },
  open,
);
export type UpgradeAbility = Static<typeof UpgradeAbility>;

/** The server wishes that the agent replace itself by a release. Sent only to agents that name it among their capabilities. */
export const agentUpgrade = {
  code: 0x0010,
  name: 'agent.upgrade',
  from: 'server',
  value: Type.Object({ release: SignedRelease }, open),
} as const satisfies ControlKind;
export type AgentUpgrade = Static<typeof agentUpgrade.value>;

/** From the offer on, in this order; the last three are ends. */
export const UPGRADE_STATES = [
  'downloading',
  'verifying',
  'trying',
  'restarting',
  'done',
  'failed',
  'refused',
] as const;

/** How far the agent has come with a release. Sent only to servers that name it among their capabilities. */
export const agentUpgradeStatus = {
  code: 0x0011,
  name: 'agent.upgrade.status',
  from: 'agent',
  value: Type.Object(
    {
      sequence: Release.properties.sequence,
      version: Release.properties.version,
      state: Type.Enum([...UPGRADE_STATES]),
      /** Of what failed or was refused. */
      code: Type.Optional(Type.String({ maxLength: 64 })),
      detail: Type.Optional(Type.String({ maxLength: MAX_REASON_CHARS })),
      /** While downloading: of the compressed file. */
      receivedBytes: Type.Optional(fileBytes),
      totalBytes: Type.Optional(fileBytes),
    },
    open,
  ),
} as const satisfies ControlKind;
export type AgentUpgradeStatus = Static<typeof agentUpgradeStatus.value>;

/** The executable of a release, compressed by gzip, from an offset on: what was there before a cut is not sent again. */
export const releaseRead = {
  code: 0x0a00,
  name: 'release.read',
  from: 'agent',
  role: 'admin',
  policy: 'change',
  priority: 'bulk',
  params: Type.Object(
    {
      /** Of the executable, uncompressed. */
      sha256: Release.properties.sha256,
      /** Into the compressed file. */
      offset: fileBytes,
    },
    closed,
  ),
  reply: Type.Object({ /** Of the whole compressed file. */ totalBytes: fileBytes }, open),
  bytes: 'acceptor',
} as const satisfies StreamKind;
