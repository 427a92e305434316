/** For those who watch the server: alive, ready, and its metrics. */
import Type from 'typebox';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import type { Readiness } from './deps.ts';

const Live = Type.Object({ status: Type.Literal('ok'), version: Type.String() });
const Ready = Type.Object({
  ready: Type.Boolean(),
  checks: Type.Record(Type.String(), Type.Object({ ok: Type.Boolean(), detail: Type.Optional(Type.String()) })),
});

/** When a server that is not ready may be asked again. */
const RETRY_SECONDS = 5;

export function healthRoutes(api: Api, { deps }: RouteContext): void {
  api.get(
    '/healthz',
    {
      config: { access: 'public', scope: 'none' },
      exposeHeadRoute: true,
      schema: { tags: ['health'], summary: 'Whether the server is alive', response: { 200: Live } },
    },
    async () => ({ status: 'ok' as const, version: deps.version }),
  );

  api.get(
    '/readyz',
    {
      config: { access: 'public', scope: 'none' },
      exposeHeadRoute: true,
      schema: {
        tags: ['health'],
        summary: 'Whether the server can do its work: its store, its CA and its listeners',
        response: { 200: Ready, 503: Ready },
      },
    },
    async (_request, reply) => {
      const found = await readiness(deps);
      if (found.ready) return reply.code(200).send(found);
      return reply.code(503).header('retry-after', String(RETRY_SECONDS)).send(found);
    },
  );

  api.get(
    '/metrics',
    {
      config: { access: 'viewer', scope: 'installation', basicAuth: true },
      schema: { tags: ['health'], summary: 'Metrics for Prometheus', produces: ['text/plain'] },
    },
    async (_request, reply) => reply.type(deps.metrics.contentType).send(await deps.metrics.text()),
  );
}

/** Nobody is to be sent to a server that stops, whatever else works. */
async function readiness({ ready, drain }: RouteContext['deps']): Promise<Readiness> {
  const found = await ready();
  if (!drain.isUnderWay) return found;
  const stopping = { ok: false, detail: 'the server is stopping' };
  return { ready: false, checks: { ...found.checks, stopping } };
}
