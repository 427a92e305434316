/** What is in a backup: the manifest in front, then the bytes of each part in its order. */
import { createHash } from 'node:crypto';
import Type, { type Static } from 'typebox';
import { fits } from '../../shared/validate.ts';
import type { ByteReader } from './byte-reader.ts';
import { newer, unreadable } from './header.ts';

/** The files that a backup can hold; none other ever comes out of one. */
export const DATABASE = 'fairlead.db';
export const MASTER_KEY = 'master.key';
export const JOURNAL = 'revoked.ndjson';

const FORMAT = 1;
const LENGTH_BYTES = 4;
const MAX_MANIFEST_BYTES = 64 * 1024;

const Part = Type.Object({
  name: Type.Enum([DATABASE, MASTER_KEY, JOURNAL]),
  size: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
});
export type Part = Static<typeof Part>;

export const Manifest = Type.Object({
  format: Type.Literal(FORMAT),
  /** The version of Fairlead that made it. */
  version: Type.String({ minLength: 1 }),
  schemaVersion: Type.Integer({ minimum: 1 }),
  /** When the snapshot of the store was taken, in RFC 3339: what came later is not in it. */
  createdAt: Type.String({ minLength: 1 }),
  /** The name of the API token that asked for it. */
  createdBy: Type.String(),
  installationId: Type.String({ minLength: 1 }),
  caFingerprint: Type.String({ minLength: 1 }),
  /** Under what the CA's key rests: `master.key` is among the parts, a passphrase is not. */
  caSeal: Type.Enum(['master-key', 'passphrase']),
  parts: Type.Array(Part, { minItems: 1 }),
});
export type Manifest = Static<typeof Manifest>;

export function newManifest(facts: Omit<Manifest, 'format'>): Manifest {
  return { format: FORMAT, ...facts };
}

export function contentBytes(manifest: Manifest): number {
  return encode(manifest).length + manifest.parts.reduce((sum, { size }) => sum + size, 0);
}

/**
 * The content of a backup.
 * @param open the bytes of a part
 * @throws Error if a part has another size than the manifest says
 */
export async function* writeContent(
  manifest: Manifest,
  open: (part: Part) => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield encode(manifest);
  for (const part of manifest.parts) {
    let sent = 0;
    for await (const chunk of open(part)) {
      sent += chunk.length;
      yield chunk;
    }
    if (sent !== part.size) throw new Error(`${part.name} had ${sent} bytes while it was sent, not ${part.size}`);
  }
}

/** @throws FairleadError VALIDATION in one sentence */
export async function readManifest(content: ByteReader): Promise<Manifest> {
  const size = (await content.exactly(LENGTH_BYTES)).readUInt32BE();
  if (size > MAX_MANIFEST_BYTES) throw unreadable('its manifest is too large');
  const manifest = parse(await content.exactly(size));
  if (!fits(Manifest, manifest)) {
    const later = Type.Object({ format: Type.Integer({ minimum: FORMAT + 1 }) });
    if (fits(later, manifest)) throw newer(manifest.format);
    throw unreadable('its manifest does not make sense');
  }
  const names = new Set(manifest.parts.map(({ name }) => name));
  if (names.size !== manifest.parts.length || !names.has(DATABASE)) throw unreadable('its manifest names no store');
  return manifest;
}

/** The bytes of a part. @throws FairleadError VALIDATION at their end, if they are not those that the manifest promises */
export async function* readPart(content: ByteReader, { name, size, sha256 }: Part): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  for await (const chunk of content.take(size)) {
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest('hex') !== sha256) throw unreadable(`${name} in it is not what its manifest says`);
}

function encode(manifest: Manifest): Buffer {
  const json = Buffer.from(JSON.stringify(manifest));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(json.length);
  return Buffer.concat([length, json]);
}

function parse(json: Buffer): unknown {
  try {
    return JSON.parse(json.toString('utf8'));
  } catch {
    return undefined; // does not make sense, as the caller says
  }
}
