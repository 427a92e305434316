/** Handlers of containers, images, networks and volumes, whatever Docker answers; the real Engine is asked end to end. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isFairleadError } from '../../../../shared/errors.ts';
import { containerCreate, containerPrune } from '../../../../shared/messages/container.ts';
import { imageInspect, imagePrune, imageRemove, imageTag } from '../../../../shared/messages/image.ts';
import { networkCreate, networkPrune, networkRemove } from '../../../../shared/messages/network.ts';
import { volumeList, volumePrune } from '../../../../shared/messages/volume.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { type Served, serve } from './served.ts';

interface Docker {
  readonly served: Served;
  /** Method and target of each call. */
  readonly asked: string[];
  /** What it answers next. */
  next: { status: number; body: string };
}

async function docker(t: TestContext): Promise<Docker> {
  const asked: string[] = [];
  const fake = await fakeDocker(t, (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    request.resume();
    response.writeHead(made.next.status, { 'content-type': 'application/json' });
    response.end(made.next.body);
  });
  const context = { docker: await engineAt(t, fake.socket), info: { agentVersion: '1' }, log: SILENT };
  const made = { served: await serve(t, context), asked, next: { status: 200, body: '{}' } };
  return made;
}

test('names with slashes reach the image that they name, and no other path', async (t) => {
  const { served, asked } = await docker(t);
  const id = 'localhost:5000/a/b:1@sha256:12';
  await served.call(imageInspect, { id });
  await served.call(imageTag, { id, repo: 'c/d', tag: '2' });
  const path = '/images/localhost%3A5000/a/b%3A1%40sha256%3A12';
  assert.deepEqual(asked, [`GET ${path}/json?`, `POST ${path}/tag?repo=c%2Fd&tag=2`]);
  for (const bad of ['../info', 'a/../b', 'a//b', '/a', 'a/', 'a/.', 'a\\b', 'a?b', 'a%2fb', '']) {
    assert.throws(() => served.call(imageInspect, { id: bad }), /VALIDATION|not valid/, bad);
  }
});

test('prunes have the filters that they are asked for', async (t) => {
  const { served, asked } = await docker(t);
  const filters = { label: ['a=b'] };
  await served.call(containerPrune, { filters });
  await served.call(imagePrune, { filters, dangling: false });
  await served.call(volumePrune, {});
  assert.deepEqual(
    asked.map((call) => decodeURIComponent(call)),
    [
      'POST /containers/prune?filters={"label":["a=b"]}',
      'POST /images/prune?filters={"label":["a=b"],"dangling":["false"]}',
      'POST /volumes/prune?',
    ],
  );
});

test('what Docker leaves out, or says as null, is nothing', async (t) => {
  const it = await docker(t);
  const nothing = { ContainersDeleted: [], SpaceReclaimed: 0 };
  it.next = { status: 200, body: '{"ContainersDeleted":null,"SpaceReclaimed":-1}' };
  assert.deepEqual(await it.served.call(containerPrune, {}), nothing);
  it.next = { status: 200, body: '{"ImagesDeleted":null,"SpaceReclaimed":"x"}' };
  assert.deepEqual(await it.served.call(imagePrune, {}), { ImagesDeleted: [], SpaceReclaimed: 0 });
  it.next = { status: 200, body: '{}' };
  assert.deepEqual(await it.served.call(networkPrune, {}), { NetworksDeleted: [] });
  it.next = { status: 200, body: '{"Volumes":null,"Warnings":null}' };
  assert.deepEqual(await it.served.call(volumeList, {}), { count: 0 });
  it.next = { status: 200, body: '[{"Untagged":"a:1","more":{}},{"Deleted":7}]' };
  assert.deepEqual(await it.served.call(imageRemove, { id: 'a' }), { removed: [{ Untagged: 'a:1' }, {}] });
  it.next = { status: 201, body: '{"Id":"n","Warning":["x"]}' };
  assert.deepEqual(await it.served.call(networkCreate, { config: { Name: 'n' } }), { id: 'n', warning: '' });
  it.next = { status: 201, body: '[]' };
  await assert.rejects(it.served.call(containerCreate, { config: {} }), (error) =>
    isFairleadError(error, 'DOCKER_ERROR'),
  );
  it.next = { status: 403, body: '{"message":"bridge is a pre-defined network and cannot be removed"}' };
  await assert.rejects(it.served.call(networkRemove, { id: 'bridge' }), /CONFLICT|pre-defined/);
});

test('a container is made once for each key, and a repeat has its id', async (t) => {
  const it = await docker(t);
  it.next = { status: 201, body: '{"Id":"first","Warnings":null}' };
  const params = { name: 'web', config: { Image: 'app', Env: ['A=1'] }, idempotencyKey: 'k' };
  const first = await it.served.call(containerCreate, params);
  it.next = { status: 201, body: '{"Id":"second"}' };
  assert.deepEqual(await it.served.call(containerCreate, params), first);
  assert.deepEqual([first, it.asked.length], [{ id: 'first', warnings: [] }, 1]);
  const other = { ...params, config: { Image: 'app', Env: ['A=2'] } };
  await assert.rejects(it.served.call(containerCreate, other), (error) => isFairleadError(error, 'CONFLICT'));
  assert.equal((await it.served.call(containerCreate, { ...other, idempotencyKey: 'l' })).id, 'second');
});
