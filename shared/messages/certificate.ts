/** Control messages by which an agent's certificate is renewed over its session. */
import Type, { type Static } from 'typebox';
import { MAX_REASON_CHARS } from '../limits.ts';
import type { ControlKind } from './kind.ts';

const closed = { additionalProperties: false };
/** Tells which request an answer belongs to. */
const id = Type.Integer({ minimum: 0 });
/** As much PEM as a control message has room for. */
const pem = Type.String({ minLength: 1, maxLength: 12 * 1024 });

/** The agent asks for a certificate for a new key. */
export const certRenew = {
  code: 0x0008,
  name: 'cert.renew',
  from: 'agent',
  value: Type.Object({ id, csr: pem }, closed),
} as const satisfies ControlKind;

/** The answer: a certificate, which counts from its first use on, or why there is none. */
export const certIssued = {
  code: 0x0009,
  name: 'cert.issued',
  from: 'server',
  value: Type.Object(
    {
      id,
      certificate: Type.Optional(pem),
      error: Type.Optional(
        Type.Object({
          code: Type.String({ maxLength: 64 }),
          message: Type.String({ maxLength: MAX_REASON_CHARS * 4 }),
        }),
      ),
    },
    closed,
  ),
} as const satisfies ControlKind;

export type CertRenew = Static<typeof certRenew.value>;
export type CertIssued = Static<typeof certIssued.value>;
