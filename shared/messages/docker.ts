/** Kinds that carry exchanges of the Docker Engine API as they are. Codes 0x0400 to 0x04ff. */
import Type from 'typebox';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
const MAX_VALUE_CHARS = 64 * 1024;
const MAX_HEADERS = 128;
/** What HTTP has for a value, each character standing for one byte. */
const FIELD = '^[\\t\\x20-\\x7e\\x80-\\xff]*$';
/** A header's name and value; each stands as often, and in the order, that it was sent. */
export const Header = Type.Tuple([
  Type.String({ minLength: 1, maxLength: 256, pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" }),
  Type.String({ maxLength: MAX_VALUE_CHARS, pattern: FIELD }),
]);
const Headers = Type.Array(Header, { maxItems: MAX_HEADERS });

/** Hop-by-hop headers are not among the headers: how a body is framed, and the upgrade, are said in words. */
const exchange = {
  from: 'server',
  /** The least that a caller needs for the mildest call; each call has its own in `shared/docker/api-calls.ts`. */
  role: 'viewer',
  policy: 'read',
  reply: Type.Object(
    {
      status: Type.Integer({ minimum: 100, maximum: 599 }),
      reason: Type.String({ maxLength: 256, pattern: FIELD }),
      headers: Headers,
      /** Whether the bytes are, from here on and both ways, those of the bare connection. */
      upgraded: Type.Boolean(),
    },
    closed,
  ),
  trailer: Type.Object({ headers: Headers }, closed),
  bytes: 'both',
} as const;

/** The largest body of a request for an upgrade: it comes with the parameters. */
export const MAX_UPGRADE_BODY_CHARS = 256 * 1024;

const request = {
  method: Type.String({ maxLength: 16, pattern: '^[A-Z]+$' }),
  /** Path and query as they go to Docker. */
  target: Type.String({ maxLength: 64 * 1024, pattern: '^/[!-~]*$' }),
  headers: Headers,
};

/** The opener's bytes are the request's body, the acceptor's that of the answer, whose head is the reply. */
export const dockerRequest = {
  ...exchange,
  code: 0x0400,
  name: 'docker.request',
  priority: 'bulk',
  compressible: true,
  params: Type.Object(
    {
      ...request,
      /** How the opener's bytes go to Docker: as no body, in chunks, or as so many bytes. */
      body: Type.Union([Type.Literal('none'), Type.Literal('chunked'), Type.Integer({ minimum: 0 })]),
    },
    closed,
  ),
} as const satisfies StreamKind;

/**
 * As docker.request, asking for an upgrade, with its body in the parameters. If Docker makes it, the opener's bytes are what
 * goes into the connection, and END closes that half of it; if not, the reply and the acceptor's bytes are an answer as ever.
 */
export const dockerUpgrade = {
  ...exchange,
  code: 0x0401,
  name: 'docker.upgrade',
  priority: 'interactive',
  params: Type.Object(
    {
      ...request,
      protocol: Type.String({ maxLength: 64, pattern: '^[A-Za-z0-9./_-]+$' }),
      body: Type.String({ maxLength: MAX_UPGRADE_BODY_CHARS }),
    },
    closed,
  ),
} as const satisfies StreamKind;
