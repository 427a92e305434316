/** Lists of hosts that are narrowed down by what only a live link knows, too: page by page, with the cursors of the store. */
import { matchesGlob } from '../glob.ts';
import { MAX_PAGE_LIMIT, type Page, type PageRequest, pageLimit } from '../store/page.ts';
import type { HostState, HostView } from './host-view.ts';

export interface HostFilter {
  /** All of them. */
  readonly tags?: readonly string[];
  /** One of them. */
  readonly states?: readonly HostState[];
  /** With `*` and `?`, in any case. */
  readonly name?: string;
  readonly os?: string;
}

function fits(host: HostView, { tags = [], states, name, os }: HostFilter): boolean {
  return (
    tags.every((tag) => host.tags.includes(tag)) &&
    (states === undefined || states.includes(host.state)) &&
    (name === undefined || matchesGlob(name.toLowerCase(), host.name.toLowerCase())) &&
    (os === undefined || host.os.toLowerCase() === os.toLowerCase())
  );
}

/**
 * A page of those that fit.
 * @param list gives pages of all
 * @throws FairleadError VALIDATION for a limit or cursor that is none
 */
export async function filteredPage(
  list: (page: PageRequest) => Promise<Page<HostView>>,
  request: PageRequest,
  filter: HostFilter,
): Promise<Page<HostView>> {
  const limit = pageLimit(request);
  const found: HostView[] = [];
  let { cursor } = request;
  for (;;) {
    const page = await list({ limit: MAX_PAGE_LIMIT, cursor });
    for (const [index, host] of page.items.entries()) {
      if (!fits(host, filter)) continue;
      found.push(host);
      if (found.length < limit) continue;
      // The store alone makes cursors: one that stands behind this host.
      const { nextCursor } = await list({ limit: index + 1, cursor });
      return nextCursor === undefined ? { items: found } : { items: found, nextCursor };
    }
    cursor = page.nextCursor;
    if (cursor === undefined) return { items: found };
  }
}
