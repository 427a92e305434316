/** Changes of stacks: deployed from a Compose file, rolled back, started, stopped, pulled, scaled and removed. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type TProperties } from 'typebox';
import { ComposeText, Scale, StackEnv, StackSeconds } from '../../shared/messages/stack.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { actorOf, principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { type AuditedAction, audited } from './audited.ts';
import { logForm } from './container-streams.ts';
import type { RouteContext } from './context.ts';
import type { RunningStackChange, StackChangeOptions, StackRevisionRecord } from './deps/stacks.ts';
import { MAX_STACK_BODY_BYTES } from './limits.ts';
import { NoContent } from './schemas.ts';
import { revisionView, StackParams } from './stack-schemas.ts';
import { NDJSON, sendBody } from './stream-body.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/stacks/:stack';
const flag = (description: string) => Type.Optional(Type.Boolean({ description }));
const timeout = { timeoutSeconds: Type.Optional(StackSeconds) };
const HOW = {
  pull: flag('Pulls all images first'),
  prune: flag('Removes containers of services that are no longer in the file'),
  ...timeout,
};
const PROGRESS =
  'Answers NDJSON: `{progress: {step, line}}` for each line that Compose prints, then `{result: …}`; a failure that comes ' +
  'once the host has begun is a last record `{error: {code, detail}}`. A client that leaves ends the change.';
const UNARY =
  `Answers once it is done, or, by \`Accept: ${NDJSON}\`, as it goes on: lines \`{progress: {step, line}}\`, then ` +
  '`{result: {}}`, or `{error: {code, detail}}`. A client that leaves ends the change.';

export function stackChangeRoutes(api: Api, context: RouteContext): void {
  deployRoutes(api, context);
  const { stacks } = context.deps;
  const plain = Type.Optional(Type.Union([Type.Object(timeout, strict), Type.Null()]));
  for (const verb of ['start', 'stop', 'restart'] as const) {
    changeRoute(api, context, {
      ...{ verb, body: plain, summary: `${verb[0]?.toUpperCase()}${verb.slice(1)}s a stack, whoever has deployed it` },
      begin: (target, _body, options) => stacks.act(target, verb, options),
    });
  }
  changeRoute(api, context, {
    ...{ verb: 'pull', body: plain, summary: 'Pulls the images of a stack; what runs stays as it is' },
    begin: (target, _body, options) => stacks.pull(target, options),
  });
  changeRoute(api, context, {
    verb: 'scale',
    summary: 'Lets services have so many containers, until the stack is deployed again',
    body: Type.Object({ services: Scale, ...timeout }, strict),
    detail: ({ services }) => ({ services }),
    begin: (target, { services }, options) => stacks.scale(target, services, options),
  });
  removeRoute(api, context);
}

/** What a change is made of. */
interface Change<T> {
  readonly action: string;
  /** Never values of variables. */
  readonly detail: Record<string, unknown>;
  readonly timeoutSeconds?: number | undefined;
  readonly judge?: NonNullable<AuditedAction<T>['judge']>;
  begin(target: { link: HostLink; stack: string }, options: StackChangeOptions): Promise<RunningStackChange<T>>;
  /** The last record. */
  view(result: T): unknown;
}

type Request = FastifyRequest<{ Params: { host: string; stack: string } }>;

/**
 * Begins a change, writes down how it ends, and answers with its progress, or with its end.
 * @throws FairleadError what speaks against it before it begins, and, for a client that wants no progress, what it fails with
 */
async function answerChange<T>(
  { deps, links, live }: RouteContext,
  request: Request,
  reply: FastifyReply,
  change: Change<T>,
  isStreamed: boolean,
): Promise<FastifyReply> {
  const { host, stack } = request.params;
  const stream = live.beginFor(reply.raw, principalOf(request));
  try {
    const begun = Promise.withResolvers<RunningStackChange<T>>();
    const { action, detail, judge, timeoutSeconds } = change;
    const facts = { action, target: `${host}/${stack}`, detail };
    const ended = audited<T>(deps, request, judge === undefined ? facts : { ...facts, judge }, async () => {
      const link = await links.to(request, host, facts);
      const options = { by: actorOf(request).name, signal: stream.signal, timeoutSeconds };
      const running = await change.begin({ link, stack }, options);
      begun.resolve(running);
      return isStreamed ? await running.done : await running.finish();
    });
    if (!isStreamed) {
      await ended;
      return reply.code(204).send(null);
    }
    ended.catch(begun.reject);
    const chunks = records(await begun.promise, ended, change);
    await sendBody(request, reply, { contentType: NDJSON, chunks, live: stream, clock: deps.clock });
    return reply;
  } finally {
    stream.release();
  }
}

async function* records<T>(
  running: RunningStackChange<T>,
  ended: Promise<T>,
  { view }: Pick<Change<T>, 'view'>,
): AsyncGenerator<string> {
  for await (const progress of running.progress()) yield `${JSON.stringify({ progress })}\n`;
  // Only what is written down has ended.
  yield `${JSON.stringify({ result: view(await ended) })}\n`;
}

/** What the revision adds to its row in the audit log. */
const judgeRevision = ({ number }: StackRevisionRecord) => ({ result: 'ok', detail: { revision: number } }) as const;

function deployRoutes(api: Api, context: RouteContext): void {
  const { stacks } = context.deps;
  const common = { judge: judgeRevision, view: revisionView };
  api.put(
    PATH,
    {
      bodyLimit: MAX_STACK_BODY_BYTES,
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: 'Deploys a stack from a Compose file',
        description: `A file has no directory around it: what it would read from one is refused. ${PROGRESS}`,
        params: StackParams,
        body: Type.Object({ compose: ComposeText, env: Type.Optional(StackEnv), ...HOW }, strict),
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const { compose, env = {}, timeoutSeconds, ...how } = request.body;
      const change: Change<StackRevisionRecord> = {
        ...{ ...common, action: 'stack.deploy', detail: { ...how, env: Object.keys(env) }, timeoutSeconds },
        begin: (target, options) => stacks.deploy(target, { compose, env }, { ...options, ...how }),
      };
      return await answerChange(context, request, reply, change, true);
    },
  );

  for (const action of ['redeploy', 'rollback'] as const) {
    const revision = Type.Integer({ minimum: 1, description: 'The revision whose file and variables are deployed' });
    const which = action === 'rollback' ? { revision } : { revision: Type.Optional(revision) };
    api.post(
      `${PATH}/${action}`,
      {
        config: { access: 'operator', scope: 'host' },
        schema: {
          tags: ['stacks'],
          summary: action === 'rollback' ? 'Deploys an earlier revision again' : 'Deploys the current revision again',
          description: `As a new revision. ${PROGRESS}`,
          params: StackParams,
          body: bodyOf({ ...which, ...HOW }, action === 'redeploy'),
          produces: [NDJSON],
        },
      },
      async (request, reply) => {
        const {
          revision: number,
          timeoutSeconds,
          ...how
        } = (request.body ?? {}) as {
          revision?: number;
          pull?: boolean;
          prune?: boolean;
          timeoutSeconds?: number;
        };
        const detail = { ...how, ...(number === undefined ? {} : { source: number }) };
        const change: Change<StackRevisionRecord> = {
          ...{ ...common, action: `stack.${action}`, detail, timeoutSeconds },
          begin: (target, options) => stacks.repeat(target, { action, number }, { ...options, ...how }),
        };
        return await answerChange(context, request, reply, change, true);
      },
    );
  }
}

function wantsProgress({ headers }: FastifyRequest): boolean {
  return logForm(headers.accept) === 'ndjson';
}

/** @param isOptional whether no body at all is one, too */
function bodyOf(properties: TProperties, isOptional: boolean) {
  const body = Type.Object(properties, strict);
  return isOptional ? Type.Optional(Type.Union([body, Type.Null()])) : body;
}

interface ChangeRoute<B> {
  readonly verb: string;
  readonly summary: string;
  readonly body: Type.TSchema;
  readonly detail?: (body: B) => Record<string, unknown>;
  begin(
    target: { link: HostLink; stack: string },
    body: B,
    options: StackChangeOptions,
  ): Promise<RunningStackChange<void>>;
}

function changeRoute<B extends { services: Record<string, number> }>(
  api: Api,
  context: RouteContext,
  { verb, summary, body, detail, begin }: ChangeRoute<B>,
): void {
  api.post(
    `${PATH}/${verb}`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['stacks'],
        ...{ summary, description: UNARY, params: StackParams, body, response: { 204: NoContent } },
      },
    },
    async (request, reply) => {
      const given = (request.body ?? {}) as B & { timeoutSeconds?: number };
      const change: Change<void> = {
        action: `stack.${verb}`,
        detail: detail?.(given) ?? {},
        timeoutSeconds: given.timeoutSeconds,
        begin: (target, options) => begin(target, given, options),
        view: () => ({}),
      };
      return await answerChange(context, request as Request, reply, change, wantsProgress(request));
    },
  );
}

function removeRoute(api: Api, context: RouteContext): void {
  const { stacks } = context.deps;
  api.delete(
    PATH,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: 'Removes a stack with its containers, its networks and all that is known of it',
        description: UNARY,
        params: StackParams,
        querystring: Type.Object({ volumes: flag('Its named volumes, too'), ...timeout }, strict),
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { volumes = false, timeoutSeconds } = request.query;
      const change: Change<void> = {
        ...{ action: 'stack.remove', detail: { volumes }, timeoutSeconds, view: () => ({}) },
        begin: (target, options) => stacks.remove(target, { volumes }, options),
      };
      return await answerChange(context, request, reply, change, wantsProgress(request));
    },
  );
}
