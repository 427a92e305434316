/** One action on many containers of many hosts: some at once, each recorded, with progress and a summary. */
import { createHash, randomUUID } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { isFairleadError } from '../../shared/errors.ts';
import {
  containerKill,
  containerPause,
  containerRemove,
  containerRestart,
  containerStart,
  containerStop,
  containerUnpause,
} from '../../shared/messages/container.ts';
import type { Params } from '../../shared/messages/kind.ts';
import { failureOf } from '../problem.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import { BulkBody, type BulkPlan, type BulkVerb, planBulk, type Target } from './bulk-plan.ts';
import { ChangeHeaders, change } from './changes.ts';
import { type ContainerChangeKind, timeoutOf } from './containers.ts';
import type { RouteContext } from './context.ts';
import { BULK_ACTIONS } from './limits.ts';
import { clientGone } from './live-streams.ts';
import { Slots } from './slots.ts';
import { NDJSON, sendBody } from './stream-body.ts';

const DEFAULT_AT_ONCE = 8;
const KINDS: Readonly<Record<BulkVerb, ContainerChangeKind>> = {
  start: containerStart,
  stop: containerStop,
  restart: containerRestart,
  pause: containerPause,
  unpause: containerUnpause,
  kill: containerKill,
  remove: containerRemove,
};

export function bulkActionRoute(api: Api, context: RouteContext): void {
  const { deps, live } = context;
  const slots = new Slots('bulk actions', BULK_ACTIONS);
  api.post(
    '/api/v1/containers/actions',
    {
      config: { access: 'operator', scope: 'filtered' },
      schema: {
        tags: ['containers'],
        summary: 'Does one thing to many containers of many hosts',
        description:
          'NDJSON: `{type: "plan", operationId, action, dryRun, hosts, matched, unreachable: […]}`; for each container ' +
          '`{type: "container", host, hostId, id, container, state, result: "ok"|"failed"|"skipped"|"planned", code?, ' +
          'detail?, repeat?}`, as it is done; then `{type: "summary", operationId, matched, ok, failed, skipped, ' +
          'unreachable}`. What begun before the client left ends; nothing more is begun. By the same Idempotency-Key a ' +
          'repeat does nothing twice to one container.',
        headers: ChangeHeaders,
        body: BulkBody,
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const held = live.beginFor(reply.raw, principalOf(request));
      let giveBack: (() => void) | undefined;
      try {
        giveBack = slots.take(principalOf(request).tokenId);
        const ran = Promise.withResolvers<BulkAction>();
        const row = recorded(context, request, request.body, ran.promise);
        try {
          const plan = await planBulk(context, request, request.body, held.signal);
          const action = new BulkAction(context, request, request.body, plan);
          // Whoever has read the summary finds the row.
          const chunks = records(action, held.signal, async () => {
            ran.resolve(action);
            await row;
          });
          await sendBody(request, reply, { contentType: NDJSON, chunks, live: held, clock: deps.clock });
          ran.resolve(action);
        } catch (error) {
          ran.reject(error);
        }
        await row;
      } finally {
        held.end(clientGone());
        held.release();
        giveBack?.();
      }
      return reply;
    },
  );
}

/** One row for all of it, beside those of the containers, which name it by its id. A dry run leaves none. */
async function recorded(
  { deps }: RouteContext,
  request: FastifyRequest,
  { action, select, dryRun = false }: BulkBody,
  ran: Promise<BulkAction>,
): Promise<void> {
  if (dryRun) return void (await ran);
  const row = { action: 'container.bulk', target: action, detail: { select } };
  const judge = (done: BulkAction) => ({
    result: done.failed === 0 ? ('ok' as const) : ('failed' as const),
    detail: done.facts(),
  });
  await audited(deps, request, { ...row, judge }, () => ran);
}

type Result = { readonly result: 'ok' | 'failed' | 'skipped' | 'planned' } & Partial<ReturnType<typeof failureOf>>;

/** @param settle is waited for between the last container and the summary */
async function* records(action: BulkAction, signal: AbortSignal, settle: () => Promise<void>): AsyncGenerator<string> {
  yield `${JSON.stringify(action.plan())}\n`;
  for await (const record of action.run(signal)) yield `${JSON.stringify(record)}\n`;
  await settle();
  yield `${JSON.stringify(action.summary())}\n`;
}

class BulkAction {
  readonly #context: RouteContext;
  readonly #request: FastifyRequest;
  readonly #body: BulkBody;
  readonly #plan: BulkPlan;
  readonly #operationId = randomUUID();
  readonly #counts = { ok: 0, failed: 0, skipped: 0, planned: 0 };

  constructor(context: RouteContext, request: FastifyRequest, body: BulkBody, plan: BulkPlan) {
    this.#context = context;
    this.#request = request;
    this.#body = body;
    this.#plan = plan;
  }

  plan(): object {
    const { action, dryRun = false } = this.#body;
    const { hosts, targets, unreachable } = this.#plan;
    const operationId = this.#operationId;
    return { type: 'plan', operationId, action, dryRun, hosts, matched: targets.length, unreachable };
  }

  summary(): object {
    return { type: 'summary', ...this.facts() };
  }

  get failed(): number {
    return this.#counts.failed;
  }

  /** What has become of it so far. */
  facts(): Record<string, unknown> {
    const { ok, failed, skipped } = this.#counts;
    const { targets, unreachable } = this.#plan;
    const counts = { matched: targets.length, ok, failed, skipped, unreachable: unreachable.length };
    return { operationId: this.#operationId, ...counts };
  }

  /** Does it, some at once. A reader who stops begins nothing more, and does not end what was begun. */
  async *run(signal: AbortSignal): AsyncGenerator<object> {
    const { concurrency = DEFAULT_AT_ONCE } = this.#body;
    const waiting = this.#plan.targets.values();
    const running = new Map<Target, Promise<{ target: Target; result: Result }>>();
    for (;;) {
      signal.throwIfAborted();
      while (running.size < concurrency) {
        const { value: target } = waiting.next();
        if (target === undefined) break;
        running.set(
          target,
          this.#result(target).then((result) => ({ target, result })),
        );
      }
      if (running.size === 0) return;
      const { target, result } = await Promise.race(running.values());
      running.delete(target);
      this.#counts[result.result] += 1;
      yield { type: 'container', ...target, ...result };
    }
  }

  /** Never rejects. */
  async #result(target: Target): Promise<Result> {
    const { dryRun = false, maxFailures = Number.POSITIVE_INFINITY } = this.#body;
    if (dryRun) return { result: 'planned' };
    if (this.#counts.failed >= maxFailures) return { result: 'skipped' };
    try {
      await this.#act(target);
      return { result: 'ok' };
    } catch (error) {
      if (!isFairleadError(error)) this.#request.log.error({ err: error }, 'a bulk action failed unexpectedly');
      return { result: 'failed', ...failureOf(error, { method: 'POST', hasKey: this.#key !== undefined }) };
    }
  }

  async #act({ host, hostId, id, container }: Target): Promise<void> {
    const { action } = this.#body;
    const { scope } = principalOf(this.#request);
    // Its tags may have changed since the plan was made.
    if (scope !== undefined) await this.#context.deps.hosts.idInScope(hostId, scope);
    const kind = KINDS[action];
    const params = this.#params();
    const key = this.#key;
    await change(this.#context, this.#request, {
      ...{ kind, host: hostId, object: container, params: { id, ...params } as Params<ContainerChangeKind> },
      detail: { ...params, hostName: host, id, operationId: this.#operationId },
      timeoutMs: timeoutOf(kind, params),
      // A key belongs to one call: each container has its own, the same for each repeat.
      ...(key === undefined ? {} : { key: createHash('sha256').update(`${key} ${hostId} ${id}`).digest('base64url') }),
    });
  }

  get #key(): string | undefined {
    const key = this.#request.headers['idempotency-key'];
    return typeof key === 'string' ? key : undefined;
  }

  /** What of the body goes with the action. */
  #params(): Record<string, unknown> {
    const { action, timeoutSeconds, signal, force = false, volumes = false } = this.#body;
    if (action === 'remove') return { force, volumes };
    if (action === 'kill') return signal === undefined ? {} : { signal };
    const waits = action === 'stop' || action === 'restart';
    return waits && timeoutSeconds !== undefined ? { timeoutSeconds } : {};
  }
}
