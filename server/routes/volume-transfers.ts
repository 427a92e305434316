/** Volumes that are carried from one host to another: begun, followed, cancelled. */
import type { FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { VolumeName } from '../../shared/messages/volume.ts';
import { actorOf, principalOf, scopeOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import type { VolumeTransferRecord, VolumeTransfersService } from './deps/volumes.ts';
import { hostInScope } from './host-in-scope.ts';
import type { LiveStream } from './live-streams.ts';
import { HostRef, IdParams, NoContent, PageQuery, pageOf } from './schemas.ts';
import { NDJSON, sendBody } from './stream-body.ts';
import { instant, pageRequest } from './views.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/volume-transfers';
/** How often progress is told. */
const PROGRESS_MS = 500;

const nullable = <const S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
const count = Type.Integer({ minimum: 0 });
const End = Type.Object({ host: HostRef, volume: VolumeName }, strict);
const EndView = Type.Object({ host: Type.String(), hostId: Type.String(), volume: Type.String() });

const TransferBody = Type.Object(
  {
    from: End,
    to: End,
    replace: Type.Optional(Type.Boolean({ description: 'What is in the target already gives way' })),
    force: Type.Optional(Type.Boolean({ description: 'Though containers use one of the volumes' })),
  },
  strict,
);

const TransferView = Type.Object({
  id: Type.String(),
  from: EndView,
  to: EndView,
  replace: Type.Boolean(),
  force: Type.Boolean(),
  state: Type.Union([
    Type.Literal('queued'),
    Type.Literal('running'),
    Type.Literal('waiting'),
    Type.Literal('done'),
    Type.Literal('failed'),
    Type.Literal('cancelled'),
  ]),
  step: Type.Union([Type.Literal('transfer'), Type.Literal('apply'), Type.Null()], {
    description: 'What is done while it runs: bytes come, or they are put in place',
  }),
  bytes: Type.Integer({ minimum: 0, description: 'How much of the tar the target has' }),
  totalBytes: Type.Union([count, Type.Null()], { description: 'About how long it will be' }),
  carriedBytes: Type.Integer({ minimum: 0, description: 'How much came from the source in all attempts' }),
  bytesPerSecond: nullable(count),
  resumes: Type.Integer({ minimum: 0, description: 'How often it went on where it had stopped' }),
  restarts: Type.Integer({ minimum: 0, description: 'How often it began anew' }),
  note: nullable(Type.String()),
  error: Type.Union([Type.Object({ code: Type.String(), detail: Type.String() }), Type.Null()], {
    description: 'Why it waits or has failed',
  }),
  createdBy: Type.String(),
  createdAt: Type.String({ format: 'date-time' }),
  endedAt: nullable(Type.String({ format: 'date-time' })),
});
type TransferView = Static<typeof TransferView>;

export function volumeTransferRoutes(api: Api, context: RouteContext): void {
  createRoute(api, context);
  readRoutes(api, context);
  progressRoute(api, context);
  cancelRoute(api, context);
}

function createRoute(api: Api, { deps }: RouteContext): void {
  const hostOf = hostInScope(api, deps);
  api.post(
    PATH,
    {
      config: { access: 'operator', scope: 'filtered' },
      schema: {
        tags: ['volumes'],
        summary: 'Carries a volume from one host to another, or to another name on the same',
        description:
          'Goes on by itself, without beginning anew, when a host or the server was away, for a day at most. The target is ' +
          'touched once all of it is there and verified, and is what it was if it cannot be put in place. A target that is ' +
          'not empty is replaced only if asked for. Plain local volumes only. Both hosts must be in the scope of the token.',
        body: TransferBody,
        response: { 202: TransferView },
      },
    },
    async (request, reply) => {
      const { from, to, replace = false, force = false } = request.body;
      const target = `${from.host}/${from.volume} to ${to.host}/${to.volume}`;
      const detail = { replace, force };
      const record = await audited(deps, request, { action: 'volume.transfer', target, detail }, async () => {
        const ends = {
          from: { hostId: await hostOf(request, from.host), volume: from.volume },
          to: { hostId: await hostOf(request, to.host), volume: to.volume },
        };
        return await deps.volumeTransfers.create({ ...ends, replaces: replace, forced: force }, actorOf(request));
      });
      return reply.code(202).send(await viewOf(deps, record));
    },
  );
}

function readRoutes(api: Api, { deps }: RouteContext): void {
  api.get(
    PATH,
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['volumes'],
        summary: 'Lists transfers of volumes, newest first; those that ended first are forgotten beyond 1000',
        querystring: PageQuery,
        response: { 200: pageOf(TransferView) },
      },
    },
    async (request) => {
      const { items, nextCursor } = await deps.volumeTransfers.list(pageRequest(request.query), scopeOf(request));
      return { items: await viewsOf(deps.hosts, items), nextCursor: nextCursor ?? null };
    },
  );

  api.get(
    `${PATH}/:id`,
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['volumes'],
        summary: 'Shows a transfer of a volume',
        params: IdParams,
        response: { 200: TransferView },
      },
    },
    async (request) => viewOf(deps, await inScope(deps, request, request.params.id)),
  );
}

function progressRoute(api: Api, { deps, live }: RouteContext): void {
  api.get(
    `${PATH}/:id/progress`,
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['volumes'],
        summary: 'Follows a transfer of a volume to its end',
        description: 'NDJSON: the transfer as it stands, and again after each change, twice a second at most.',
        params: IdParams,
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const held = live.beginFor(reply.raw, principalOf(request), 'endless');
      try {
        const { id } = await inScope(deps, request, request.params.id);
        const chunks = progressOf(deps, id, held);
        await sendBody(request, reply, { contentType: NDJSON, chunks, live: held, clock: deps.clock });
      } finally {
        held.release();
      }
      return reply;
    },
  );
}

async function* progressOf(
  deps: Pick<RouteContext['deps'], 'volumeTransfers' | 'hosts' | 'clock'>,
  id: string,
  { signal }: LiveStream,
): AsyncGenerator<string> {
  const changes = new Changes(deps.volumeTransfers, id);
  try {
    for (;;) {
      changes.seen();
      const record = await deps.volumeTransfers.get(id);
      yield `${JSON.stringify(await viewOf(deps, record))}\n`;
      if (record.endedAt !== undefined && record.endedAt !== null) return;
      await changes.next(deps.clock, signal);
    }
  } finally {
    changes.close();
  }
}

/** Changes of a transfer, as one that reads slowly looks at them. */
class Changes {
  readonly #stop: () => void;
  #change = Promise.withResolvers<void>();

  constructor(transfers: Pick<VolumeTransfersService, 'watch'>, id: string) {
    this.#stop = transfers.watch(id, () => this.#change.resolve());
  }

  /** What has changed until now is known. */
  seen(): void {
    this.#change = Promise.withResolvers();
  }

  /** Resolves after the next change, and not too soon. @throws the signal's reason */
  async next(clock: Clock, signal: AbortSignal): Promise<void> {
    const { promise: left, reject } = Promise.withResolvers<never>();
    left.catch(() => undefined);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort);
    const { promise: soon, resolve } = Promise.withResolvers<void>();
    const timer = clock.setTimeout(resolve, PROGRESS_MS);
    try {
      signal.throwIfAborted();
      await Promise.race([Promise.all([this.#change.promise, soon]), left]);
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
    }
  }

  close(): void {
    this.#stop();
  }
}

function cancelRoute(api: Api, { deps }: RouteContext): void {
  api.delete(
    `${PATH}/:id`,
    {
      config: { access: 'operator', scope: 'filtered' },
      schema: {
        tags: ['volumes'],
        summary: 'Cancels a transfer of a volume that has not ended; the target is as it was',
        params: IdParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      await audited(deps, request, { action: 'volume.transfer.cancel', target: id }, async () => {
        await inScope(deps, request, id);
        await deps.volumeTransfers.cancel(id);
      });
      return reply.code(204).send(null);
    },
  );
}

type Deps = RouteContext['deps'];

/** @throws FairleadError NOT_FOUND, the same for a transfer of hosts out of scope as for none */
async function inScope(
  { volumeTransfers, hosts }: Pick<Deps, 'volumeTransfers' | 'hosts'>,
  request: FastifyRequest,
  id: string,
): Promise<VolumeTransferRecord> {
  const record = await volumeTransfers.get(id);
  const scope = scopeOf(request);
  if (scope === undefined) return record;
  try {
    for (const { hostId } of [record.from, record.to]) await hosts.idInScope(hostId, scope);
    return record;
  } catch (error) {
    if (!isFairleadError(error, 'HOST_NOT_FOUND')) throw error;
    throw new FairleadError('NOT_FOUND', `there is no transfer ${id}`);
  }
}

async function viewOf({ hosts }: Pick<Deps, 'hosts'>, record: VolumeTransferRecord): Promise<TransferView> {
  const [view] = await viewsOf(hosts, [record]);
  if (view === undefined) throw new Error('there is a view of each record');
  return view;
}

async function viewsOf(
  hosts: Pick<Deps['hosts'], 'names'>,
  records: readonly VolumeTransferRecord[],
): Promise<TransferView[]> {
  const names = await hosts.names([...new Set(records.flatMap(({ from, to }) => [from.hostId, to.hostId]))]);
  const end = ({ hostId, volume }: VolumeTransferRecord['from']) => {
    return { host: names.get(hostId) ?? hostId, hostId, volume };
  };
  return records.map((record) => ({
    id: record.id,
    from: end(record.from),
    to: end(record.to),
    replace: record.replaces,
    force: record.forced,
    state: record.state,
    step: record.step ?? null,
    bytes: record.bytes,
    totalBytes: record.total ?? null,
    carriedBytes: record.carried,
    bytesPerSecond: record.rate ?? null,
    resumes: record.resumes,
    restarts: record.restarts,
    note: record.note ?? null,
    error: record.code ? { code: record.code, detail: record.detail ?? '' } : null,
    createdBy: record.createdBy,
    createdAt: instant(record.createdAt),
    endedAt: record.endedAt === undefined || record.endedAt === null ? null : instant(record.endedAt),
  }));
}
