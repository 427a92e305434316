/** Changes that a host is long in answering: so many at once of one caller, who leaves the host to others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { test } from 'node:test';
import { DOCKER_TURNS, PULL_TURNS, TAR_TURNS } from '../../../../server/routes/limits.ts';
import { waitFor } from '../../../support/wait.ts';
import type { Answer } from './fake-host.ts';
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

test('pulls, and tars in and out, of one caller take turns until each has ended; those of others go on', async (t) => {
  const { promise, resolve } = Promise.withResolvers<object>();
  const pull: Answer = ({ stream }) => {
    stream.itemList = (async function* () {
      yield await promise;
    })();
    return {};
  };
  const { api, host } = await fixture({ answers: { 'image.pull': pull, 'container.archive.put': () => promise } });
  t.after(() => api.close());
  const H = '/api/v1/hosts/edge-1';
  const headers = { ...as('operator'), 'content-type': 'application/x-tar' };
  const kinds = [
    [
      'image.pull',
      PULL_TURNS.ofCaller,
      { method: 'POST', url: `${H}/images/pull`, payload: { reference: 'a:1' }, headers: {} },
    ],
    [
      ...(['container.archive.put', TAR_TURNS.ofCaller] as const),
      { method: 'PUT', url: `${H}/containers/web/archive?path=/`, payload: Buffer.from('a tar'), headers },
    ],
  ] as const;
  const all = [];
  for (const [kind, most, call] of kinds) {
    const asked = () => host.asked.filter((one) => one.kind === kind).length;
    const go = (token: 'operator' | 'admin') => ask(api, { ...call, headers: { ...call.headers, ...as(token) } });
    all.push(...Array.from({ length: most + 1 }, () => go('operator')));
    await waitFor(`the turns of ${kind}`, () => asked() === most);
    all.push(go('admin'));
    await waitFor(`the turn of another caller of ${kind}`, () => asked() === most + 1);
  }
  resolve({});
  for (const { statusCode } of await Promise.all(all)) assert.ok(statusCode < 300, String(statusCode));
  assert.equal(host.asked.length, PULL_TURNS.ofCaller + TAR_TURNS.ofCaller + 4);
});
