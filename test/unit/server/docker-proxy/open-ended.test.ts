/** Which calls of Docker's API have no end of their own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isOpenEnded } from '../../../../server/docker-proxy/open-ended.ts';
import { apiCall } from '../../../../shared/docker/api-calls.ts';

function asked(written: string, isUpgrade = false): boolean {
  const [method = '', target = ''] = written.split(' ');
  const call = apiCall(method, target);
  assert.ok(call !== undefined, written);
  return isOpenEnded({ target, call }, isUpgrade);
}

test('what is followed, waited for or handed over goes on until somebody ends it', () => {
  for (const written of [
    'GET /v1.41/events?since=1',
    'POST /containers/web/wait?condition=removed',
    'GET /containers/web/logs?stdout=1&follow=1',
    'GET /containers/web/logs?follow=true',
    'GET /containers/web/stats',
    'GET /containers/web/stats?stream=1',
  ]) {
    assert.equal(asked(written), true, written);
  }
  assert.equal(asked('POST /containers/web/attach?stream=1', true), true);
  assert.equal(asked('POST /exec/abc/start', true), true);
});

test('all else ends by itself', () => {
  for (const written of [
    'GET /containers/json',
    'GET /containers/web/logs?stdout=1',
    'GET /containers/web/logs?follow=0',
    'GET /containers/web/stats?stream=false',
    'POST /containers/web/stop?t=10',
    'POST /containers/web/exec',
    'POST /images/create?fromImage=x',
    'PUT /containers/web/archive?path=/',
  ]) {
    assert.equal(asked(written), false, written);
  }
  assert.equal(asked('POST /session', true), false, 'a build');
});
