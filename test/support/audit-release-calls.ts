/** How the routes of releases, upgrades and rollouts of the agent are called so that they leave a row, in this order. */
import assert from 'node:assert/strict';
import { request } from 'node:https';
import type { Call } from './audit-calls.ts';
import { server } from './audit-scene.ts';
import { testRelease } from './releases.ts';

const RELEASES = '/api/v1/agent-releases';
const ROLLOUTS = '/api/v1/rollouts';
const GZIP = { 'content-type': 'application/gzip' };
const release = testRelease({ version: '99.0.0', sequence: 5, bytes: 1_000 });
const FILE = `${RELEASES}/5/${release.signed.os}/${release.signed.arch}`;

async function upload(): Promise<void> {
  const headers = { ...GZIP, authorization: `Bearer ${server.adminToken}` };
  const options = { method: 'PUT', ca: server.caPem, agent: false, headers };
  const status = await new Promise((resolve, reject) => {
    request(new URL(FILE, server.runtime.apiUrl), options, (answer) => resolve(answer.resume().statusCode))
      .once('error', reject)
      .end(release.compressed);
  });
  assert.equal(status, 200);
}

const ofRollout = (verb: string) => async (): Promise<Call> => ({
  path: `${ROLLOUTS}/none/${verb}`,
  action: `rollout.${verb}`,
});

export const RELEASE_CALLS: Readonly<Record<string, () => Promise<Call>>> = {
  [`post ${RELEASES}`]: async () => ({ path: RELEASES, body: { files: [release.signed] }, action: 'release.add' }),
  [`put ${RELEASES}/{sequence}/{os}/{arch}`]: async () => ({
    ...{ path: FILE, body: 'no gzip', headers: GZIP },
    action: 'release.upload',
  }),
  'post /api/v1/hosts/{host}/upgrade': async () => {
    await upload();
    return { path: '/api/v1/hosts/one/upgrade', body: {}, action: 'host.upgrade' };
  },
  'delete /api/v1/hosts/{host}/upgrade': async () => ({
    path: '/api/v1/hosts/one/upgrade',
    action: 'host.upgrade.cancel',
  }),
  [`post ${ROLLOUTS}`]: async () => ({
    path: ROLLOUTS,
    body: { version: '98.0.0', select: { all: true } },
    action: 'rollout.create',
  }),
  [`post ${ROLLOUTS}/{id}/pause`]: ofRollout('pause'),
  [`post ${ROLLOUTS}/{id}/resume`]: ofRollout('resume'),
  [`post ${ROLLOUTS}/{id}/abort`]: ofRollout('abort'),
  [`delete ${RELEASES}/{sequence}`]: async () => ({ path: `${RELEASES}/5`, action: 'release.remove' }),
};
