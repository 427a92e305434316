/** What the server says of its own state. */
import { Diagnostics } from '../../shared/doctor/diagnostics.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';

export function diagnosticsRoute(api: Api, { deps }: RouteContext): void {
  api.get(
    '/api/v1/diagnostics',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['health'],
        summary: 'What is well with the server and its hosts and what is not, with advice',
        response: { 200: Diagnostics },
      },
    },
    async () => await deps.diagnostics.diagnose(),
  );
}
