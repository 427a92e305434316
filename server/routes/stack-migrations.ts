/** A stack that is carried to another host: begun, and looked on at. */
import Type from 'typebox';
import { StackName } from '../../shared/messages/stack.ts';
import { actorOf, principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import type { RunningStackMigration } from './deps/stacks.ts';
import { hostInScope } from './host-in-scope.ts';
import { HostRef } from './schemas.ts';
import { StackParams } from './stack-schemas.ts';
import { NDJSON, sendBody } from './stream-body.ts';

const strict = { additionalProperties: false };

const Body = Type.Object(
  {
    to: HostRef,
    as: Type.Optional(StackName),
    keep: Type.Optional(Type.Boolean({ description: 'The stack stays at the source, stopped' })),
  },
  strict,
);

export function stackMigrationRoute(api: Api, { deps, links, live }: RouteContext): void {
  const hostOf = hostInScope(api, deps);
  api.post(
    '/api/v1/hosts/:host/stacks/:stack/migrate',
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: 'Carries a stack with its volumes to another host, also under another name',
        description:
          'All that speaks against it comes in one CONFLICT before anything is touched. Then NDJSON: ' +
          '`{progress: {step, line}}`, and `{result: {host, stack, revision, volumes, images, kept}}`, or ' +
          '`{error: {code, detail}}`, which says what failed and whether it was rolled back. A client that leaves ends ' +
          'nothing: how it ended is in the audit log. Both hosts must be in the scope of the token.',
        params: StackParams,
        body: Body,
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const { host, stack } = request.params;
      const { to, as = stack, keep = false } = request.body;
      const held = live.beginFor(reply.raw, principalOf(request), 'endless');
      try {
        const facts = { action: 'stack.migrate', target: `${host}/${stack}`, detail: { to, as, keep } };
        const begin = async () => {
          const target = await hostOf(request, to);
          const ends = {
            from: { link: await links.to(request, host, facts), stack },
            to: { link: await links.to(request, target, facts), stack: as },
          };
          return await deps.stackMigrations.begin(ends, { keep }, actorOf(request), held.signal);
        };
        const judge = ({ id }: RunningStackMigration) => ({ result: 'ok', detail: { id } }) as const;
        const running = await audited(deps, request, { ...facts, judge }, begin);
        // Whoever has left does not hear of its end.
        running.done.catch(() => undefined);
        const chunks = records(running, to, held.signal);
        await sendBody(request, reply, { contentType: NDJSON, chunks, live: held, clock: deps.clock });
      } finally {
        held.release();
      }
      return reply;
    },
  );
}

async function* records(running: RunningStackMigration, host: string, signal: AbortSignal): AsyncGenerator<string> {
  for await (const progress of running.progress(signal)) yield `${JSON.stringify({ progress })}\n`;
  yield `${JSON.stringify({ result: { host, ...(await running.done) } })}\n`;
}
