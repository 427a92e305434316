/** The API's own description: an OpenAPI 3.1 document made from the route schemas, and a page to read it on. */
import swagger from '@fastify/swagger';
import Type from 'typebox';
import { PROBLEM_TYPE, Problem } from '../problem.ts';
import type { Api } from './app-types.ts';
import { type OpenApiDocument, referencePage } from './docs-page.ts';
import { SESSION_COOKIE } from './session-cookie.ts';

/** Begins to collect the routes that are registered from now on. */
export async function collectOpenApi(api: Api, version: string): Promise<void> {
  api.addSchema(Problem);
  api.addHook('onRoute', (route) => {
    const schema = route.schema;
    if (schema === undefined) return;
    const problem = { description: 'A problem', content: { [PROBLEM_TYPE]: { schema: Type.Ref('Problem#') } } };
    route.schema = { ...schema, response: { ...(schema.response as object), '4xx': problem, '5xx': problem } };
  });
  await api.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Fairlead',
        version,
        description: 'Docker hosts behind NAT, CGNAT and firewalls, through a mesh of agents.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'An API token' },
          session: { type: 'apiKey', in: 'cookie', name: SESSION_COOKIE, description: 'Set by the login' },
          // Of OpenAPI 3.1, which the types do not know yet.
          certificate: { type: 'mutualTLS', description: "An operator's client certificate" } as never,
        },
      },
    },
    refResolver: { buildLocalReference: (json, _base, _fragment, i) => String(json['$id'] ?? `schema-${i}`) },
  });
}

export function openApiRoutes(api: Api): void {
  let page: string | undefined;

  api.get(
    '/api/v1/openapi.json',
    {
      config: { access: 'viewer', scope: 'none', basicAuth: true },
      schema: { tags: ['api'], summary: 'This document' },
    },
    async () => api.swagger(),
  );

  api.get(
    '/api/docs',
    {
      config: { access: 'viewer', scope: 'none', basicAuth: true },
      schema: { tags: ['api'], summary: 'The reference page', produces: ['text/html'] },
    },
    async (_request, reply) => {
      page ??= referencePage(api.swagger() as unknown as OpenApiDocument);
      return reply
        .type('text/html; charset=utf-8')
        .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
        .send(page);
    },
  );
}
