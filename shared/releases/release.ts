/**
 * A release of the agent for one platform, and the signature that vouches for it. This is what stands in `fairlead-agent.sig`,
 * what the API takes and gives, and what a server offers its agents: they check it offline, by keys that they have in themselves.
 */
import Type, { type Static } from 'typebox';

/** More than any executable has: an endless download ends here at the latest. */
export const MAX_EXECUTABLE_BYTES = 512 * 1024 * 1024;
const MAX_VERSION_CHARS = 64;
/** What gzip may add to something that cannot be made smaller, and more. */
const COMPRESSION_SLACK_BYTES = 64 * 1024;

/** As semantic versioning has it, without build metadata, which orders nothing. */
const Version = Type.String({
  maxLength: MAX_VERSION_CHARS,
  pattern: '^(0|[1-9]\\d*)\\.(0|[1-9]\\d*)\\.(0|[1-9]\\d*)(-[0-9A-Za-z-]+(\\.[0-9A-Za-z-]+)*)?$',
});
/** Rises with every release, also with one that goes back to an older version: no old release is taken for a new one. */
const Sequence = Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 });
const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });

/** What a build says of the executable that it has made: the contents of `fairlead-agent.json`. */
export const BuildFacts = Type.Object(
  {
    version: Version,
    /** What it was built to be signed with; absent: the build was not told. */
    sequence: Type.Optional(Sequence),
    /** The commit it was built from; absent where that is not known. */
    commit: Type.Optional(Type.String({ pattern: '^[0-9a-f]{7,64}(-changed)?$' })),
    /** By the names that Node has for systems and architectures. */
    os: Type.String({ pattern: '^[a-z0-9]{1,32}$' }),
    arch: Type.String({ pattern: '^[a-z0-9]{1,32}$' }),
    /** Of the executable, uncompressed. */
    bytes: Type.Integer({ minimum: 1, maximum: MAX_EXECUTABLE_BYTES }),
    /** Of the executable, uncompressed; in hex. */
    sha256: Sha256,
  },
  { additionalProperties: false },
);
export type BuildFacts = Static<typeof BuildFacts>;

/** What is signed. */
export const Release = Type.Object(
  {
    version: Version,
    sequence: Sequence,
    os: BuildFacts.properties.os,
    arch: BuildFacts.properties.arch,
    bytes: BuildFacts.properties.bytes,
    sha256: Sha256,
    /** Whether it may take the place of a newer version; absent: it may not. */
    downgrade: Type.Optional(Type.Literal(true)),
  },
  { additionalProperties: false },
);
export type Release = Static<typeof Release>;

/** A release with its signature: the contents of `fairlead-agent.sig`. */
export const SignedRelease = Type.Object(
  {
    ...Release.properties,
    /** Which key has signed: the first 16 hex digits of the SHA-256 of its SPKI. */
    keyId: Type.String({ pattern: '^[0-9a-f]{16}$' }),
    /** Ed25519 over `signedText`, in base64. */
    signature: Type.String({ pattern: '^[A-Za-z0-9+/]{86}==$' }),
  },
  { additionalProperties: false },
);
export type SignedRelease = Static<typeof SignedRelease>;

/** The most that a compressed executable of so many bytes can have: servers take no more, and agents read no more. */
export function maxCompressedBytes(bytes: number): number {
  return bytes + Math.ceil(bytes / 1024) + COMPRESSION_SLACK_BYTES;
}

/**
 * The bytes that a signature is over. Each field has a line of its own, in this order, and no field can hold a line break;
 * the first line keeps a signature over anything else from counting here.
 */
export function signedText(release: Release): Buffer {
  const { version, sequence, os, arch, bytes, sha256, downgrade } = release;
  const lines = [
    'fairlead-agent release v1',
    `version ${version}`,
    `sequence ${sequence}`,
    `platform ${os}/${arch}`,
    `bytes ${bytes}`,
    `sha256 ${sha256}`,
    `downgrade ${downgrade === true ? 'yes' : 'no'}`,
  ];
  return Buffer.from(`${lines.join('\n')}\n`, 'latin1');
}
