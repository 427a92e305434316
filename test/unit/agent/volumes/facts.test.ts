/** Who uses a volume, and who is left waiting for one that Docker does not give. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { usersOf } from '../../../../agent/volumes/facts.ts';
import { Volumes } from '../../../../agent/volumes/volumes.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { defer, tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';

const helper = (more: Record<string, unknown> = {}) => ({
  ...{ Id: 'c', Names: ['/fairlead-helper-h1'], State: 'created', Mounts: [{ Name: 'v' }] },
  ...{ Labels: { 'fairlead.helper': 'me', 'fairlead.helper.id': 'h1' }, ...more },
});

test('only our own helpers are no users, whatever labels others have', async (t) => {
  const others = [
    helper({ Names: ['/other-owner'], Labels: { 'fairlead.helper': 'x', 'fairlead.helper.id': 'h1' } }),
    helper({ Names: ['/running'], State: 'running' }),
    helper({ Names: ['/any-name'] }),
    helper({ Names: ['/plain'], Labels: null }),
  ];
  const { socket } = await fakeDocker(t, (_request, response) =>
    response.end(JSON.stringify([helper(), helper({ State: 'removing' }), ...others])),
  );
  const users = await usersOf(await engineAt(t, socket), 'me', 'v');
  assert.deepEqual(
    users.map(({ name }) => name),
    ['other-owner', 'running', 'any-name', 'plain'],
  );
});

test('who leaves while Docker gives nothing of a volume is waited for by nobody, and its helper goes', async (t) => {
  const asked: string[] = [];
  const { socket } = await fakeDocker(t, (request, response) => {
    const call = `${request.method} ${request.url?.replace(/^\/v[\d.]+/, '').split('?')[0]}`;
    asked.push(call);
    request.resume();
    if (call.endsWith('/archive')) return void response.writeHead(200).flushHeaders();
    if (call === 'POST /images/create')
      return void response.end(JSON.stringify({ status: `sha256:${'a'.repeat(64)}` }));
    if (call.endsWith('/json')) return void response.end('[]');
    response.end(JSON.stringify({ Id: 'c', Name: 'v', Driver: 'local', Options: null, Labels: null }));
  });
  const directory = join(await tempDir(t, 'volumes'), 'volumes');
  const docker = await engineAt(t, socket);
  const volumes = new Volumes({ docker, owner: 'me', directory, log: SILENT });
  defer(t, () => volumes.close());
  const leaving = new AbortController();
  const target = { volume: 'v', replace: true, force: true };
  const prepared = volumes.prepare(randomUUID(), target, leaving.signal);
  prepared.catch(() => undefined);
  await waitFor('the archive', () => asked.some((call) => call.endsWith('/archive')));
  leaving.abort(new FairleadError('CANCELLED', 'left'));
  await assert.rejects(prepared, { code: 'CANCELLED' });
  assert.ok(asked.includes('DELETE /containers/c'));
});
