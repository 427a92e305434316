/** Who may do what on a host of Hawser, and what is written down of it: as on any other, from the route to the agent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hosts } from '../../../../server/hosts/hosts.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import { ADMIN, openEdge } from '../hawser/fixture.ts';
import { logFrame, type Said, say } from '../hawser/scripted-agent.ts';
import { as, ask, fixture } from './fakes.ts';

const WEB = '/api/v1/hosts/nas/containers/web';

/** What Docker answers behind the agent, to a command that prints a line, and to changes. */
function answerTo(path: string): Said {
  if (path.endsWith('/containers/web/exec')) return { status: 201, body: { Id: 'e1' } };
  if (path.endsWith('/exec/e1/start')) return { body: logFrame('a file\n').toString('latin1') };
  if (path.endsWith('/exec/e1/json')) return { body: { ExitCode: 0, Running: false } };
  if (path.endsWith('/containers/web/restart')) return { status: 204 };
  return { body: path.includes('/containers/json') ? [] : {} };
}

test("roles, scopes and the audit log are a Hawser host's as any other's, and what is refused never reaches its agent", async (t) => {
  const { tokens, connect, store, registry, audit: trail, clock, edge } = await openEdge(t);
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  const socket = await connect(token);
  const paths: string[] = [];
  socket.on('sent', () => {
    const { type, requestId, path } = socket.sent.at(-1);
    if (type !== 'request') return;
    paths.push(path);
    queueMicrotask(() => say(socket, requestId, answerTo(path.split('?')[0])));
  });
  const hosts = new Hosts({
    ...{ store, registry, clock, audit: trail },
    forget: () => undefined,
    disconnect: (target, code, reason) => edge.disconnect(target, code, reason),
  });
  const { id } = await hosts.update('nas', { tags: ['lab'] }, ADMIN);
  const { api, audit } = await fixture({ overrides: { hosts } });
  t.after(() => api.close());
  const send = (method: 'GET' | 'POST', url: string, token: Role | `${Role}#${string}`, payload?: object) =>
    ask(api, { method, url, headers: as(token), ...(payload && { payload }) });
  const rows = () =>
    audit
      .splice(0)
      .filter(({ action }) => action !== 'login')
      .map(({ actor, action, target, result }) => [actor, action, target, result]);
  const run = { cmd: ['ls'] };

  // A role that is too low.
  for (const url of [`${WEB}/exec`, `${WEB}/restart`]) {
    const { statusCode } = await send('POST', url, 'viewer', url.endsWith('exec') ? run : undefined);
    assert.equal(statusCode, 403, url);
  }
  assert.deepEqual(
    rows(),
    ['exec', 'restart'].map((verb) => [
      'the-viewer',
      `POST /api/v1/hosts/:host/containers/:container/${verb}`,
      undefined,
      'refused',
    ]),
  );

  // A scope of other hosts: there is no such host.
  assert.deepEqual((await send('GET', '/api/v1/hosts', 'admin#mine')).json().items, []);
  for (const [method, url, payload] of [
    ['GET', '/api/v1/hosts/nas'],
    ['GET', '/api/v1/hosts/nas/containers'],
    ['POST', `${WEB}/exec`, run],
    ['POST', `${WEB}/restart`],
  ] as const) {
    const answer = await send(method, url, 'admin#mine', payload);
    assert.deepEqual([answer.statusCode, answer.json().code], [404, 'HOST_NOT_FOUND'], url);
  }
  const container = '/containers/:container';
  assert.deepEqual(
    rows(),
    ['GET ', 'GET /containers', `POST ${container}/exec`, `POST ${container}/restart`].map((route) => [
      'the-admin#mine',
      route.replace(' ', ' /api/v1/hosts/:host'),
      'nas',
      'refused',
    ]),
  );
  assert.equal(paths.length, 0, 'its agent was asked nothing');

  // Whoever may.
  const seen = (await send('GET', '/api/v1/hosts', 'viewer#lab')).json().items;
  assert.deepEqual(
    seen.map(({ name, kind, state }: { name: string; kind: string; state: string }) => [name, kind, state]),
    [['nas', 'hawser-edge', 'online']],
  );
  assert.deepEqual(rows(), []);
  const ran = await send('POST', `${WEB}/exec`, 'operator#lab', run);
  assert.deepEqual(ran.json(), { exitCode: 0, stdout: 'a file\n', stderr: '', truncated: false });
  assert.equal((await send('POST', `${WEB}/restart`, 'operator#lab')).statusCode, 204);
  assert.deepEqual(rows(), [
    ['the-operator#lab', 'container.exec', `${id}/web`, 'ok'],
    ['the-operator#lab', 'container.restart', `${id}/web`, 'ok'],
  ]);
  assert.ok(paths.some((path) => path.includes('/exec/e1/start')) && paths.some((path) => path.includes('/restart')));
});
