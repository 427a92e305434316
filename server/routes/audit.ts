/** The audit log. */
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { AuditRow, PageQuery, pageOf } from './schemas.ts';
import { auditView, pageRequest, pageView } from './views.ts';

export function auditRoutes(api: Api, { deps }: RouteContext): void {
  api.get(
    '/api/v1/audit',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['audit'],
        summary: 'Lists what was done, by whom and with what result, newest first',
        querystring: PageQuery,
        response: { 200: pageOf(AuditRow) },
      },
    },
    async ({ query }) => pageView(await deps.audit.list(pageRequest(query)), auditView),
  );
}
