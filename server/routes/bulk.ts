/** Bulk actions of all sorts; they share their limit. */
import type { Api } from './app-types.ts';
import { bulkContainerRoute } from './bulk-containers.ts';
import { bulkStackRoute } from './bulk-stacks.ts';
import type { RouteContext } from './context.ts';
import { BULK_ACTIONS } from './limits.ts';
import { Slots } from './slots.ts';

export function bulkRoutes(api: Api, context: RouteContext): void {
  const slots = new Slots('bulk actions', BULK_ACTIONS);
  bulkContainerRoute(api, context, slots);
  bulkStackRoute(api, context, slots);
}
