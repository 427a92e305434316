/** One action on many things of many hosts: some at once, each recorded, with a plan, progress and a summary. */
import { randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isFairleadError } from '../../shared/errors.ts';
import { failureOf } from '../problem.ts';
import { principalOf } from './access.ts';
import { audited } from './audited.ts';
import type { BulkHow, BulkPlan, Target } from './bulk-plan.ts';
import type { RouteContext } from './context.ts';
import { clientGone } from './live-streams.ts';
import type { Slots } from './slots.ts';
import { NDJSON, sendBody } from './stream-body.ts';

const DEFAULT_AT_ONCE = 8;

/** What is done, and to what. */
export interface BulkJob<T extends Target> extends BulkHow {
  /** What there are many of: the type of their records. */
  readonly type: 'container' | 'stack';
  readonly action: string;
  /** As it was asked for, for the audit log. */
  readonly select: object;
  /** The key by which a repeat does nothing twice, where there is one. */
  readonly key?: string | undefined;
  /** Looks at all that is meant. */
  plan(signal: AbortSignal): Promise<BulkPlan<T>>;
  /**
   * Does it to one of them, and writes that down.
   * @param signal fires when whoever asked for all of it has left
   */
  act(target: T, operationId: string, signal: AbortSignal): Promise<void>;
}

/** What a bulk action answers. @param target the fields of one of `type` @param more what else there is to say */
export function bulkAnswer(type: string, target: string, more: string): string {
  return (
    'NDJSON: `{type: "plan", operationId, action, dryRun, hosts, matched, unreachable: […]}`; for each ' +
    `${type} \`{type: "${type}", host, hostId, ${target}, result: "ok"|"failed"|"skipped"|"planned", code?, detail?, ` +
    'repeat?}`, as it is done; then `{type: "summary", operationId, matched, ok, failed, skipped, unreachable}`. ' +
    more
  );
}

/**
 * Answers with the plan, then each target as it is done, then the sum.
 * @throws FairleadError OVERLOADED, what the plan fails with
 */
export async function answerBulk<T extends Target>(
  context: RouteContext,
  slots: Slots,
  request: FastifyRequest,
  reply: FastifyReply,
  job: BulkJob<T>,
): Promise<FastifyReply> {
  const { deps, live } = context;
  const held = live.beginFor(reply.raw, principalOf(request), 'endless');
  let giveBack: (() => void) | undefined;
  try {
    giveBack = slots.take(principalOf(request).tokenId);
    const ran = Promise.withResolvers<BulkRun<T>>();
    const row = recorded(context, request, job, ran.promise);
    try {
      const run = new BulkRun(context, request, job, await job.plan(held.signal));
      // Whoever has read the summary finds the row.
      const chunks = records(run, held.signal, async () => {
        ran.resolve(run);
        await row;
      });
      await sendBody(request, reply, { contentType: NDJSON, chunks, live: held, clock: deps.clock });
      ran.resolve(run);
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
}

/** One row for all of it, beside those of the targets, which name it by its id. A dry run leaves none. */
async function recorded<T extends Target>(
  { deps }: RouteContext,
  request: FastifyRequest,
  { type, action, select, dryRun = false }: BulkJob<T>,
  ran: Promise<BulkRun<T>>,
): Promise<void> {
  if (dryRun) return void (await ran);
  const row = { action: `${type}.bulk`, target: action, detail: { select } };
  const judge = (done: BulkRun<T>) => ({
    result: done.failed === 0 ? ('ok' as const) : ('failed' as const),
    detail: done.facts(),
  });
  await audited(deps, request, { ...row, judge }, () => ran);
}

/** @param settle is waited for between the last target and the summary */
async function* records<T extends Target>(
  run: BulkRun<T>,
  signal: AbortSignal,
  settle: () => Promise<void>,
): AsyncGenerator<string> {
  yield `${JSON.stringify(run.plan())}\n`;
  for await (const record of run.run(signal)) yield `${JSON.stringify(record)}\n`;
  await settle();
  yield `${JSON.stringify(run.summary())}\n`;
}

type Result = { readonly result: 'ok' | 'failed' | 'skipped' | 'planned' } & Partial<ReturnType<typeof failureOf>>;

class BulkRun<T extends Target> {
  readonly #context: RouteContext;
  readonly #request: FastifyRequest;
  readonly #job: BulkJob<T>;
  readonly #plan: BulkPlan<T>;
  readonly #operationId = randomUUID();
  readonly #counts = { ok: 0, failed: 0, skipped: 0, planned: 0 };

  constructor(context: RouteContext, request: FastifyRequest, job: BulkJob<T>, plan: BulkPlan<T>) {
    this.#context = context;
    this.#request = request;
    this.#job = job;
    this.#plan = plan;
  }

  plan(): object {
    const { action, dryRun = false } = this.#job;
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

  /** Does it, some at once. A reader who stops begins nothing more. */
  async *run(signal: AbortSignal): AsyncGenerator<object> {
    const { concurrency = DEFAULT_AT_ONCE, type } = this.#job;
    const waiting = this.#plan.targets.values();
    const running = new Map<T, Promise<{ target: T; result: Result }>>();
    for (;;) {
      signal.throwIfAborted();
      while (running.size < concurrency) {
        const { value: target } = waiting.next();
        if (target === undefined) break;
        running.set(
          target,
          this.#result(target, signal).then((result) => ({ target, result })),
        );
      }
      if (running.size === 0) return;
      const { target, result } = await Promise.race(running.values());
      running.delete(target);
      this.#counts[result.result] += 1;
      yield { type, ...target, ...result };
    }
  }

  /** Never rejects. */
  async #result(target: T, signal: AbortSignal): Promise<Result> {
    const { dryRun = false, maxFailures = Number.POSITIVE_INFINITY, key } = this.#job;
    if (dryRun) return { result: 'planned' };
    if (this.#counts.failed >= maxFailures) return { result: 'skipped' };
    try {
      const { scope } = principalOf(this.#request);
      // Its tags may have changed since the plan was made.
      if (scope !== undefined) await this.#context.deps.hosts.idInScope(target.hostId, scope);
      await this.#job.act(target, this.#operationId, signal);
      return { result: 'ok' };
    } catch (error) {
      if (!isFairleadError(error)) this.#request.log.error({ err: error }, 'a bulk action failed unexpectedly');
      return { result: 'failed', ...failureOf(error, { method: 'POST', hasKey: key !== undefined }) };
    }
  }
}
