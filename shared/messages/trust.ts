/** Control messages by which the roots that an agent trusts follow those of its server. */
import Type, { type Static } from 'typebox';
import type { ControlKind } from './kind.ts';

const closed = { additionalProperties: false };
const pem = Type.String({ minLength: 1, maxLength: 4 * 1024 });
const version = Type.Integer({ minimum: 1 });

/** What the server is trusted by from now on. The agent takes of it what it can follow, and nothing on the server's word. */
export const trustUpdate = {
  code: 0x000d,
  name: 'trust.update',
  from: 'server',
  value: Type.Object(
    {
      version,
      /** In PEM, the current one first. */
      roots: Type.Array(pem, { minItems: 1, maxItems: 2 }),
      /** By which of them others of them are endorsed, in PEM. */
      endorsements: Type.Array(pem, { maxItems: 2 }),
    },
    closed,
  ),
} as const satisfies ControlKind;

/** What the agent trusts, once that is on its disk. */
export const trustAck = {
  code: 0x000e,
  name: 'trust.ack',
  from: 'agent',
  value: Type.Object(
    {
      version,
      /** The pins of the roots. */
      roots: Type.Array(Type.String({ pattern: '^sha256:[0-9a-f]{64}$' }), { minItems: 1, maxItems: 2 }),
    },
    closed,
  ),
} as const satisfies ControlKind;

export type TrustUpdate = Static<typeof trustUpdate.value>;
export type TrustAck = Static<typeof trustAck.value>;
