/** What the routes need of rollouts. */
import type { ListedHost, Rollout, RolloutRequest } from '../../rollouts/rollouts.ts';
import type { Actor } from './caller.ts';
import type { Page, Paged } from './rows.ts';

export type { ListedHost, Rollout } from '../../rollouts/rollouts.ts';

export interface RolloutsService {
  /** @throws FairleadError VALIDATION, HOST_NOT_FOUND, NOT_FOUND, CONFLICT, OVERLOADED */
  create(request: RolloutRequest, actor: Actor): Promise<Rollout>;
  /** Newest first. */
  list(page: Page): Promise<Paged<Rollout>>;
  /** @throws FairleadError NOT_FOUND */
  get(id: string): Promise<Rollout>;
  /** In the order in which they are asked. @throws FairleadError NOT_FOUND */
  hosts(id: string, page: Page, state?: Exclude<ListedHost['state'], 'waiting'>): Promise<Paged<ListedHost>>;
  /** These three: @throws FairleadError NOT_FOUND, CONFLICT */
  pause(id: string): Promise<Rollout>;
  resume(id: string): Promise<Rollout>;
  abort(id: string): Promise<Rollout>;
}
