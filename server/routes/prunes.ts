/** What is not used any more, removed all at once: containers, images, networks, volumes. */
import Type, { type TProperties } from 'typebox';
import { containerPrune } from '../../shared/messages/container.ts';
import { imagePrune } from '../../shared/messages/image.ts';
import type { Params, Reply } from '../../shared/messages/kind.ts';
import { networkPrune } from '../../shared/messages/network.ts';
import { volumePrune } from '../../shared/messages/volume.ts';
import type { Api } from './app-types.ts';
import type { Verdict } from './audited.ts';
import { ChangeHeaders, change } from './changes.ts';
import type { RouteContext } from './context.ts';
import { filtersQuery, readFilters } from './docker-words.ts';
import { PRUNE_MS } from './limits.ts';
import { HostParams } from './schemas.ts';

type PruneKind = typeof containerPrune | typeof imagePrune | typeof networkPrune | typeof volumePrune;

interface Prune<K extends PruneKind> {
  readonly kind: K;
  readonly family: string;
  readonly summary: string;
  /** What the kind takes beside filters. */
  readonly query?: TProperties;
  readonly removed: (reply: Reply<K>) => readonly unknown[];
}

export function pruneRoutes(api: Api, context: RouteContext): void {
  pruneRoute(api, context, {
    ...{ kind: containerPrune, family: 'containers', summary: 'Removes all containers that are stopped' },
    removed: ({ ContainersDeleted }) => ContainersDeleted,
  });
  pruneRoute(api, context, {
    ...{ kind: imagePrune, family: 'images', summary: 'Removes images that no container uses' },
    query: {
      dangling: Type.Optional(
        Type.Boolean({ description: '1 unless given: those without a name. 0: all that no container uses' }),
      ),
    },
    removed: ({ ImagesDeleted }) => ImagesDeleted,
  });
  pruneRoute(api, context, {
    ...{ kind: networkPrune, family: 'networks', summary: 'Removes all networks that no container uses' },
    removed: ({ NetworksDeleted }) => NetworksDeleted,
  });
  pruneRoute(api, context, {
    ...{ kind: volumePrune, family: 'volumes' },
    summary: 'Removes volumes that no container uses, and what is in them',
    removed: ({ VolumesDeleted }) => VolumesDeleted,
  });
}

function pruneRoute<K extends PruneKind>(api: Api, context: RouteContext, prune: Prune<K>): void {
  const { kind, family, summary, query = {}, removed } = prune;
  api.post(
    `/api/v1/hosts/:host/${family}/prune`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        ...{ tags: [family], summary, params: HostParams, headers: ChangeHeaders },
        querystring: Type.Object({ ...filtersQuery, ...query }, { additionalProperties: false }),
        response: { 200: kind.reply },
      },
    },
    async (request) => {
      const { filters, ...rest } = request.query as { filters?: string };
      const params = { ...rest, ...readFilters(filters) };
      return await change(context, request, {
        ...{ kind: kind as PruneKind, host: request.params.host, detail: params, timeoutMs: PRUNE_MS },
        params: params as Params<PruneKind>,
        judge: (reply) =>
          pruned(removed(reply as Reply<K>), 'SpaceReclaimed' in reply ? reply.SpaceReclaimed : undefined),
      });
    },
  );
}

/** What the audit log says of a prune that is done. @param bytes that it freed, where Docker tells */
function pruned(removed: readonly unknown[], bytes?: number): Verdict {
  return {
    result: 'ok',
    detail: { removed: removed.length, ...(bytes === undefined ? {} : { reclaimedBytes: bytes }) },
  };
}
