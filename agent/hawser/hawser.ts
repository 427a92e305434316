/** What this agent is for Dockhand servers beside its own: off, unless the flags say otherwise, and never longer than the agent. */
import type { HawserConfig } from './config.ts';
import type { HawserContext } from './context.ts';
import type { EdgeDeps } from './edge.ts';
import { HawserEdge } from './edge.ts';
import { HawserStandard } from './standard.ts';

export class Hawser {
  readonly standard: HawserStandard | undefined;
  readonly #edge: HawserEdge | undefined;

  private constructor(standard: HawserStandard | undefined, edge: HawserEdge | undefined) {
    this.standard = standard;
    this.#edge = edge;
  }

  /** @throws FairleadError CONFLICT for a port that is in use, VALIDATION for one that cannot be listened on */
  static async open({ standard, edge }: HawserConfig, context: HawserContext & EdgeDeps): Promise<Hawser> {
    return new Hawser(
      standard === undefined ? undefined : await HawserStandard.open(standard, context),
      edge === undefined ? undefined : HawserEdge.start(edge, context),
    );
  }

  /** Ends both, and what goes on by them. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.standard?.close(), this.#edge?.close()]);
  }
}
