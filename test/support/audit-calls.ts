/** How each route that changes something is called so that it does, and what its row in the audit log says. */

import { randomBytes, randomUUID } from 'node:crypto';
import { type Ca, createOfflineRoot, openCa } from '../../certs/authority.ts';
import { readCaRequest } from '../../certs/intermediate.ts';
import { systemClock } from '../../shared/clock.ts';
import { RELEASE_CALLS } from './audit-release-calls.ts';
import {
  cleanup,
  inStore,
  keyAndCsr,
  operatorCertificate,
  PASSWORD,
  pendingRecovery,
  recoveryOf,
  server,
  user,
} from './audit-scene.ts';
import { connectAgent } from './hawser-agent.ts';
import { newToken } from './mesh.ts';

const HOST = '/api/v1/hosts/{host}';

const CONTAINER = `${HOST}/containers/{container}`;

const STACK = `${HOST}/stacks/{stack}`;

let offlineRoot: Ca;

export interface Call {
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  /** Null: without a token. */
  readonly token?: null;
  /** Of the row; without it, any that is new. */
  readonly action: string;
}

const ofContainer = (action: string): (() => Promise<Call>) => {
  return async () => ({
    path: `/api/v1/hosts/one/containers/c1${action === 'remove' ? '' : `/${action}`}`,
    action: `container.${action}`,
  });
};

/** Routes of what a host's Docker has, by method and path behind the host: how each is called, and the row that it leaves. */
function ofObjects(
  calls: Record<string, [path: string, action: string, body?: object]>,
): Record<string, () => Promise<Call>> {
  return Object.fromEntries(
    Object.entries(calls).map(([route, [path, action, body]]) => [
      route.replace(' ', ` ${HOST}/`),
      async () => ({ path: `/api/v1/hosts/one${path}`, action, ...(body === undefined ? {} : { body }) }),
    ]),
  );
}

const ofStack = (path: string, verb: string, body?: object): (() => Promise<Call>) => {
  return async () => ({
    path: `/api/v1/hosts/one/stacks/web${path}`,
    ...(body === undefined ? {} : { body }),
    action: `stack.${verb}`,
  });
};

/** What changes something at Docker by each method, under one of the routes for it. */
function ofDocker(route: string, path: string, headers = {}): Record<string, () => Promise<Call>> {
  const calls = [
    ['post', '/containers/c1/rename?name=c2', 'container.rename'],
    ['put', '/containers/c1/archive?path=/', 'container.archive.put'],
    ['delete', '/volumes/v1', 'volume.remove'],
  ] as const;
  return Object.fromEntries(
    calls.map(([method, call, action]) => [`${method} ${route}`, async () => ({ path: path + call, headers, action })]),
  );
}

const apiToken = async (): Promise<string> => {
  return (await server.api.post('/api/v1/api-tokens', { name: 'short-lived', role: 'viewer' })).body.id;
};

/** Nothing listens there. */
const aDialledHost = () => ({ name: `nas-${randomUUID()}`, url: 'https://127.0.0.1:9', token: 'secret' });

const hawserToken = async (): Promise<string> => {
  return (await server.api.post('/api/hawser/tokens', { name: 'nas' })).body.id;
};

/** A host of Hawser, which is there once its agent has been. */
async function hawserHost(name: string): Promise<string> {
  const { body } = await server.api.post('/api/hawser/tokens', { name });
  await connectAgent(cleanup, { url: body.connectUrl, token: body.token, ca: server.caPem }).welcome;
  return `/api/v1/hosts/${name}/adoption`;
}

/** How each route is called so that it does something. One that is missing here fails the test. */
/** Nobody listens there: that it is tried is what counts. */
const webhook = { path: '/api/v1/webhooks', body: { url: 'http://127.0.0.1:9/' } };

const webhookId = async (): Promise<string> => (await server.api.post(webhook.path, webhook.body)).body.id;

export const CALLS: Record<string, () => Promise<Call>> = {
  ...RELEASE_CALLS,
  'post /api/v1/recover': async () => ({
    path: '/api/v1/recover',
    body: await recoveryOf('three'),
    action: 'recovery.request',
  }),
  'post /api/v1/recoveries/{id}/approve': async () => ({
    path: `/api/v1/recoveries/${await pendingRecovery('three')}/approve`,
    action: 'recovery.approve',
  }),
  'post /api/v1/recoveries/{id}/deny': async () => ({
    path: `/api/v1/recoveries/${await pendingRecovery('four')}/deny`,
    action: 'recovery.deny',
  }),
  [`post ${HOST}/release`]: async () => {
    inStore(`update hosts set quarantined_at = 1, quarantine_reason = 'a copy came' where name = 'four'`);
    return { path: '/api/v1/hosts/four/release', action: 'host.release' };
  },
  'post /api/v1/revocations': async () => ({
    path: '/api/v1/revocations',
    body: { hosts: ['three'] },
    action: 'host.revoke',
  }),
  'post /api/v1/users': async () => ({
    path: '/api/v1/users',
    body: { name: 'eve', role: 'viewer', password: PASSWORD },
    action: 'user.create',
  }),
  'put /api/v1/users/{user}/password': async () => ({
    path: '/api/v1/users/eve/password',
    body: { password: `${PASSWORD}!` },
    action: 'user.password',
  }),
  'delete /api/v1/users/{user}': async () => ({ path: '/api/v1/users/eve', action: 'user.remove' }),
  'post /api/v1/login': async () => ({
    path: '/api/v1/login',
    body: await user('ann'),
    token: null,
    action: 'login',
  }),
  'post /api/v1/logout': async () => {
    const answer = await server.api.post('/api/v1/login', await user('bob'), { token: null });
    const [cookie = ''] = (answer.headers['set-cookie'] ?? []).map((each) => each.split(';')[0] ?? '');
    const headers = { cookie, 'x-csrf-token': answer.body.csrfToken, origin: server.runtime.apiUrl };
    return { path: '/api/v1/logout', headers, token: null, action: 'logout' };
  },
  'post /api/v1/operator-certificates': async () => ({
    path: '/api/v1/operator-certificates',
    body: { csr: (await keyAndCsr()).csr, name: 'ann', role: 'viewer' },
    action: 'operator-certificate.create',
  }),
  'delete /api/v1/operator-certificates/{serial}': async () => ({
    path: `/api/v1/operator-certificates/${(await operatorCertificate()).serial}`,
    action: 'operator-certificate.revoke',
  }),
  'post /api/v1/backup': async () => {
    const [key, salt] = [32, 16].map((size) => randomBytes(size).toString('base64'));
    return { path: '/api/v1/backup', body: { key, salt, log2N: 15, r: 8, p: 1 }, action: 'backup.create' };
  },
  'post /api/v1/ca/request': async () => ({ path: '/api/v1/ca/request', action: 'ca.request' }),
  'post /api/v1/ca/import': async () => {
    offlineRoot = openCa(await createOfflineRoot({ clock: systemClock, bits: 2048 }));
    const { csr } = (await server.api.post('/api/v1/ca/request')).body;
    const signed = await offlineRoot.issueIntermediate({
      ...(await readCaRequest(csr)),
      ...{ days: 30, clock: systemClock },
    });
    return { path: '/api/v1/ca/import', body: { bundle: offlineRoot.certPem + signed.certPem }, action: 'ca.import' };
  },
  'post /api/v1/ca/rotation': async () => ({
    path: '/api/v1/ca/rotation',
    body: { action: 'abort' },
    action: 'ca.abort',
  }),
  'post /api/v1/api-tokens/{id}/rotate': async () => ({
    path: `/api/v1/api-tokens/${await apiToken()}/rotate`,
    body: {},
    action: 'api-token.rotate',
  }),
  'post /api/hawser/tokens': async () => {
    return { path: '/api/hawser/tokens', body: { name: 'nas' }, action: 'hawser-token.create' };
  },
  'post /api/hawser/tokens/{id}/rotate': async () => ({
    path: `/api/hawser/tokens/${await hawserToken()}/rotate`,
    body: {},
    action: 'hawser-token.rotate',
  }),
  'delete /api/hawser/tokens': async () => ({
    path: `/api/hawser/tokens?id=${await hawserToken()}`,
    action: 'hawser-token.revoke',
  }),
  'delete /api/hawser/tokens/{id}': async () => ({
    path: `/api/hawser/tokens/${await hawserToken()}`,
    action: 'hawser-token.revoke',
  }),
  [`post ${HOST}/adoption`]: async () => ({
    path: await hawserHost('adopted'),
    body: {},
    action: 'enrollment-token.create',
  }),
  [`delete ${HOST}/adoption`]: async () => {
    const path = await hawserHost('kept');
    await server.api.post(path, {});
    return { path, action: 'adoption.cancel' };
  },
  'post /api/v1/hawser-hosts': async () => ({
    path: '/api/v1/hawser-hosts',
    body: aDialledHost(),
    action: 'hawser-host.create',
  }),
  'patch /api/v1/hawser-hosts/{host}': async () => ({
    path: `/api/v1/hawser-hosts/${(await server.api.post('/api/v1/hawser-hosts', aDialledHost())).body.host.id}`,
    body: { token: 'another' },
    action: 'hawser-host.update',
  }),
  'post /api/v1/webhooks': async () => ({ ...webhook, action: 'webhook.create' }),
  'post /api/v1/webhooks/{id}/test': async () => ({
    path: `/api/v1/webhooks/${await webhookId()}/test`,
    action: 'webhook.test',
  }),
  'delete /api/v1/webhooks/{id}': async () => ({
    path: `/api/v1/webhooks/${await webhookId()}`,
    action: 'webhook.delete',
  }),
  'post /api/v1/enrollment-tokens': async () => ({
    path: '/api/v1/enrollment-tokens',
    body: {},
    action: 'enrollment-token.create',
  }),
  'delete /api/v1/enrollment-tokens/{id}': async () => {
    return { path: `/api/v1/enrollment-tokens/${(await newToken(server)).id}`, action: 'enrollment-token.revoke' };
  },
  'post /api/v1/enroll': async () => {
    const facts = { hostname: 'h', os: 'linux', arch: 'x64', agentVersion: '1' };
    return { path: '/api/v1/enroll', body: { token: 'wrong', csr: 'none', ...facts }, action: 'host.enroll' };
  },
  [`patch ${HOST}`]: async () => ({ path: '/api/v1/hosts/one', body: { tags: ['x'] }, action: 'host.update' }),
  [`post ${HOST}/revoke`]: async () => ({ path: '/api/v1/hosts/two/revoke', body: {}, action: 'host.revoke' }),
  [`delete ${HOST}`]: async () => ({ path: '/api/v1/hosts/two', action: 'host.remove' }),
  [`post ${HOST}/throughput`]: async () => ({
    path: '/api/v1/hosts/one/throughput',
    body: {},
    action: 'host.throughput',
  }),
  [`put ${STACK}`]: ofStack('', 'deploy', { compose: 'services: {web: {image: x}}' }),
  [`delete ${STACK}`]: ofStack('', 'remove'),
  [`post ${STACK}/scale`]: ofStack('/scale', 'scale', { services: { web: 2 } }),
  [`post ${STACK}/migrate`]: ofStack('/migrate', 'migrate', { to: 'elsewhere' }),
  [`post ${STACK}/rollback`]: ofStack('/rollback', 'rollback', { revision: 1 }),
  ...Object.fromEntries(
    ['start', 'stop', 'restart', 'pull', 'redeploy'].map((verb) => [
      `post ${STACK}/${verb}`,
      ofStack(`/${verb}`, verb, {}),
    ]),
  ),
  'post /api/v1/certificates/{serial}/revoke': async () => {
    const { certificate } = (await server.api.get('/api/v1/hosts/one')).body;
    return { path: `/api/v1/certificates/${certificate.serial}/revoke`, body: {}, action: 'certificate.revoke' };
  },
  'post /api/v1/api-tokens': async () => {
    return { path: '/api/v1/api-tokens', body: { name: 'new', role: 'viewer' }, action: 'api-token.create' };
  },
  'delete /api/v1/api-tokens/{id}': async () => ({
    path: `/api/v1/api-tokens/${await apiToken()}`,
    action: 'api-token.revoke',
  }),
  'post /api/v1/volume-transfers': async () => ({
    path: '/api/v1/volume-transfers',
    body: { from: { host: 'one', volume: 'a' }, to: { host: 'two', volume: 'b' } },
    action: 'volume.transfer',
  }),
  'delete /api/v1/volume-transfers/{id}': async () => ({
    path: '/api/v1/volume-transfers/none',
    action: 'volume.transfer.cancel',
  }),
  [`put ${HOST}/volumes/{volume}/archive`]: async () => ({
    ...{ path: '/api/v1/hosts/one/volumes/v1/archive', headers: { 'content-type': 'application/x-tar' } },
    action: 'volume.import',
  }),
  [`put ${CONTAINER}/archive`]: async () => ({
    ...{ path: '/api/v1/hosts/one/containers/c1/archive?path=/', headers: { 'content-type': 'application/x-tar' } },
    action: 'container.archive.put',
  }),
  [`post ${HOST}/images/load`]: async () => ({
    ...{ path: '/api/v1/hosts/one/images/load', headers: { 'content-type': 'application/x-tar' } },
    action: 'image.load',
  }),
  ...ofDocker('/api/v1/hosts/{host}/docker/{*}', '/api/v1/hosts/one/docker'),
  ...ofDocker('/api/v1/docker/{*}', '/api/v1/docker', { 'x-fairlead-host': 'one' }),
  ...ofObjects({
    'post containers': ['/containers?name=c3', 'container.create', { Image: 'none' }],
    'post containers/prune': ['/containers/prune', 'container.prune'],
    'post containers/{container}/rename': ['/containers/c1/rename', 'container.rename', { name: 'c2' }],
    'delete images/{image}': ['/images/a%2Fb', 'image.remove'],
    'post images/{image}/tag': ['/images/a%2Fb/tag', 'image.tag', { repo: 'c' }],
    'post images/prune': ['/images/prune', 'image.prune'],
    'post containers/{container}/exec': ['/containers/c1/exec', 'container.exec', { cmd: ['true'] }],
    'post images/pull': ['/images/pull', 'image.pull', { reference: 'a/b' }],
    'post networks': ['/networks', 'network.create', { Name: 'lan' }],
    'delete networks/{network}': ['/networks/lan', 'network.remove'],
    'post networks/{network}/connect': ['/networks/lan/connect', 'network.connect', { Container: 'c1' }],
    'post networks/{network}/disconnect': ['/networks/lan/disconnect', 'network.disconnect', { Container: 'c1' }],
    'post networks/prune': ['/networks/prune', 'network.prune'],
    'post volumes': ['/volumes', 'volume.create', { Name: 'v1' }],
    'delete volumes/{volume}': ['/volumes/v1', 'volume.remove'],
    'post volumes/prune': ['/volumes/prune', 'volume.prune'],
  }),
  'post /api/v1/containers/actions': async () => ({
    ...{ path: '/api/v1/containers/actions', body: { action: 'stop', select: { name: ['nobody'] } } },
    action: 'container.bulk',
  }),
  'post /api/v1/stacks/actions': async () => ({
    ...{ path: '/api/v1/stacks/actions', body: { action: 'stop', select: { name: ['nobody'] } } },
    action: 'stack.bulk',
  }),
  [`delete ${CONTAINER}`]: ofContainer('remove'),
  ...Object.fromEntries(
    ['start', 'stop', 'restart', 'kill', 'pause', 'unpause'].map((action) => [
      `post ${CONTAINER}/${action}`,
      ofContainer(action),
    ]),
  ),
};
