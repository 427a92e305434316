/** Changes that a host is long in answering: so many at once of one caller, who leaves the host to others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { test } from 'node:test';
import { DOCKER_TURNS } from '../../../../server/routes/limits.ts';
import { waitFor } from '../../../support/wait.ts';
import { as, ask, fixture, listen } from './fakes.ts';

const STOP = '/api/v1/hosts/edge-1/containers/web/stop';

test('changes of one caller wait behind so many, those of others go on, and who leaves begins nothing', async (t) => {
  const { promise, resolve } = Promise.withResolvers<object>();
  const { api, host, ...rest } = await fixture({ answers: { 'container.stop': () => promise } });
  t.after(() => api.close());
  const url = await listen({ api, ...rest } as Parameters<typeof listen>[0]);
  const stop = () => ask(api, { method: 'POST', url: STOP, headers: as('operator') });
  const all = Array.from({ length: DOCKER_TURNS.ofCaller }, stop);
  await waitFor('their turns', () => host.asked.length === DOCKER_TURNS.ofCaller);
  const leaving = request(`${url}${STOP}`, { method: 'POST', headers: as('operator') });
  leaving.on('error', () => undefined).end();
  await once(leaving, 'finish');
  all.push(stop());
  const other = ask(api, { method: 'POST', url: STOP, headers: as('admin') });
  await waitFor('the turn of another caller', () => host.asked.length === DOCKER_TURNS.ofCaller + 1);
  leaving.destroy();
  await waitFor('its row', () => rest.audit.some(({ detail }) => detail?.['code'] === 'CANCELLED'));
  resolve({});
  for (const each of await Promise.all([...all, other])) assert.equal(each.statusCode, 204);
  assert.equal(host.asked.length, DOCKER_TURNS.ofCaller + 2);
});
