/** A backup of the installation, encrypted as it leaves, under a key that the caller made. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { FairleadError, toWireError } from '../../shared/errors.ts';
import { type BackupKey, COST_BOUNDS } from '../backup/header.ts';
import { actorOf, principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext, RouteDeps } from './context.ts';
import type { ApiDeps } from './deps.ts';
import type { LiveStream } from './live-streams.ts';
import { paced, sendBody } from './stream-body.ts';

const { minLog2N, maxLog2N, r, maxP } = COST_BOUNDS;

const BackupBody = Type.Object(
  {
    key: Type.String({ pattern: '^[A-Za-z0-9+/]{43}=$', description: 'What scrypt made: 32 bytes in base64' }),
    salt: Type.String({ pattern: '^[A-Za-z0-9+/]{22}==$', description: '16 random bytes in base64, new each time' }),
    log2N: Type.Integer({ minimum: minLog2N, maximum: maxLog2N }),
    r: Type.Integer({ minimum: r, maximum: r }),
    p: Type.Integer({ minimum: 1, maximum: maxP }),
  },
  { additionalProperties: false },
);

type Backup = Awaited<ReturnType<ApiDeps['backups']['create']>>;

export function backupRoute(api: Api, { deps, live }: RouteContext): void {
  api.post(
    '/api/v1/backup',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['backup'],
        summary: 'Makes a backup and sends it, encrypted',
        description:
          'The caller makes the key of a passphrase, by scrypt with the parameters and the salt that it sends along; ' +
          '`fairlead backup` does so. They stand in the head of the file, the key stands nowhere.',
        body: BackupBody,
        response: { 200: Type.String({ description: 'application/octet-stream' }) },
      },
    },
    async (request, reply) => {
      requireConfidential(request);
      const held = live.beginFor(reply.raw, principalOf(request));
      try {
        await answer(request, reply, keyOf(request.body), held, deps);
      } finally {
        held.release();
      }
      return reply;
    },
  );
}

/** Makes the backup, writes it down, and sends it; writes down, too, if that did not come to its end. */
async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  key: BackupKey,
  live: LiveStream,
  { audit, authority, backups, clock }: RouteDeps,
): Promise<void> {
  const { name: actor, address } = actorOf(request);
  const who = { actor, ...(address === undefined ? {} : { address }) };
  const entry = { ...who, action: 'backup.create', target: authority.installationId };
  let detail = {};
  let backup: Backup | undefined;
  try {
    backup = await backups.create(key, actor, live.signal);
    detail = { createdAt: backup.manifest.createdAt, bytes: backup.bytes };
    // Before the first byte: what cannot be written down is not handed out.
    await audit.record({ ...entry, result: 'ok', detail });
    reply.header('content-length', backup.bytes);
    const sent = { whole: false };
    // The next backup waits for this one.
    const chunks = watched(paced(backup.chunks, live, clock), sent);
    await sendBody(request, reply, { contentType: 'application/octet-stream', chunks, live, clock });
    if (!sent.whole) throw live.signal.reason ?? new FairleadError('INTERNAL', 'the backup could not be read');
  } catch (error) {
    await audit.recordOrLog({ ...entry, result: 'failed', detail: { ...detail, code: toWireError(error).code } });
    if (!reply.sent) throw error;
  } finally {
    backup?.release();
  }
}

function keyOf({ key, salt, ...cost }: Static<typeof BackupBody>): BackupKey {
  return { recipe: { ...cost, salt: Buffer.from(salt, 'base64') }, key: Buffer.from(key, 'base64') };
}

/** The key opens the file: whoever could read it on its way could read the CA's. @throws FairleadError FORBIDDEN */
function requireConfidential(request: FastifyRequest): void {
  if (request.protocol === 'https' || isLoopback(request.ip)) return;
  throw new FairleadError(
    'FORBIDDEN',
    'a backup is only made over HTTPS or from this machine: a TLS proxy in front must send X-Forwarded-Proto, and the server be started with --trust-proxy',
  );
}

function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\./.test(address) || address === '::1';
}

/** `chunks`, and whether they came to their end. */
async function* watched(chunks: AsyncIterable<Uint8Array>, sent: { whole: boolean }): AsyncGenerator<Uint8Array> {
  yield* chunks;
  sent.whole = true;
}
