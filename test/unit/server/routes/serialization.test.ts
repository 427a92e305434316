import assert from 'node:assert/strict';
import { test } from 'node:test';
import serializers from '@fastify/fast-json-stringify-compiler';
import fastify from 'fastify';
import type { Api } from '../../../../server/routes/app-types.ts';
import { lazySerializers } from '../../../../server/routes/serialization.ts';
import { as, ask, fixture } from './fakes.ts';

const BROKEN = { $ref: 'nowhere#' };

function answeringApi(schema: object): Api {
  const api: Api = fastify({ schemaController: { compilersFactory: { buildSerializer: lazySerializers } } });
  api.addSchema({ $id: 'name', type: 'string' });
  api.get('/answer', { schema: { response: { 200: schema } } }, async () => ({ name: 'harbor', secret: 'x' }));
  return api;
}

test('an answer holds what its schema names and nothing else, the second as the first', async () => {
  const api = answeringApi({ type: 'object', properties: { name: { $ref: 'name#' } } });
  for (const _time of ['first', 'second']) {
    assert.equal((await ask(api, '/answer')).body, '{"name":"harbor"}');
  }
});

test('a schema is compiled when the first answer needs it', async () => {
  const api = answeringApi(BROKEN);
  await api.ready();
  assert.equal((await ask(api, '/answer')).statusCode, 500);
});

test('the schema of every answer of the API can be compiled', async () => {
  const { api } = await fixture({});
  const document = (await ask(api, { url: '/api/v1/openapi.json', headers: as('viewer') })).json();
  const compile = serializers.SerializerSelector()();
  let compiled = 0;
  for (const [url, methods] of Object.entries<Record<string, { responses: Record<string, Answer> }>>(document.paths)) {
    for (const [method, { responses }] of Object.entries(methods)) {
      for (const [httpStatus, { content = {} }] of Object.entries(responses)) {
        for (const { schema } of Object.values(content)) {
          if (schema === undefined) continue;
          compile({ method, url, httpStatus, schema: { ...schema, components: document.components } });
          compiled += 1;
        }
      }
    }
  }
  assert.ok(compiled > 200, `${compiled} schemas`);
});

interface Answer {
  content?: Record<string, { schema?: object }>;
}
