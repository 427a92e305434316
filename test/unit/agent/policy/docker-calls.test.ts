import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCallPattern, isKnownArea, permitsCall } from '../../../../agent/policy/docker-calls.ts';
import { normalPath } from '../../../../shared/docker/path.ts';
import { cpuMs } from '../../../support/cpu-time.ts';

const deny = (...entries: string[]) => ({ allow: [], deny: entries });
const allow = (...entries: string[]) => ({ allow: entries, deny: [] });

/** `METHOD /path` for each call that `policy` permits. */
function permitted(policy: { allow: string[]; deny: string[] }, ...calls: string[]): string[] {
  return calls.filter((call) => {
    const [method = '', target = ''] = call.split(' ');
    return permitsCall(policy, method, target);
  });
}

test('the grammar: a method or *, and a path of plain parts, * and a last **', () => {
  const good = [
    'docker:DELETE',
    'docker:*',
    'docker:GET /containers/json',
    'docker:* /volumes/**',
    'docker:POST /containers/*/start',
    'docker:GET /**',
    'docker:PUT /containers/*/archive',
  ];
  for (const entry of good) assert.ok(isCallPattern(entry), entry);
  const bad = [
    'docker:',
    'docker',
    'docker:get /containers/json',
    'docker:PATCH /x',
    'docker:GET|POST /x',
    'docker:GET containers',
    'docker:GET  /x',
    'docker:GET /x ',
    'docker:GET /',
    'docker:GET //x',
    'docker:GET /x/',
    'docker:GET /x/../y',
    'docker:GET /**/json',
    'docker:GET /a*',
    'docker:GET /x?y=1',
    'docker:GET /%63ontainers',
    'docker:GET /v1.41/containers/json',
    'docker:GET /v1/containers/json',
    'docker:GET /x\n',
    'Docker:GET /x',
  ];
  for (const entry of bad) assert.ok(!isCallPattern(entry), JSON.stringify(entry));
});

test('without entries about calls all of them are permitted, also where kinds are limited', () => {
  assert.ok(permitsCall(allow(), 'DELETE', '/containers/web'));
  assert.ok(permitsCall(allow('read-only'), 'DELETE', '/containers/web'));
  assert.ok(permitsCall(deny('exec'), 'POST', '/containers/web/exec'));
});

test('allowed calls are permitted, and nothing else is', () => {
  const policy = allow('read', 'docker:GET /containers/**', 'docker:POST /containers/*/restart');
  const yes = ['GET /containers/json?all=1', 'HEAD /containers/web/archive', 'POST /v1.41/containers/web/restart?t=1'];
  const no = [
    'POST /containers/web/stop',
    'GET /info',
    'DELETE /containers/web',
    'POST /containers/restart',
    'POST /containers/a/b/restart',
    'POST /containers/web/restart/more',
    'GET /containersx/json',
  ];
  assert.deepEqual(permitted(policy, ...yes, ...no), yes);
});

test('deny wins, for a method anywhere and for a path under any method', () => {
  const policy = { allow: ['docker:*'], deny: ['docker:DELETE', 'docker:* /volumes/**'] };
  const yes = ['GET /containers/json', 'POST /containers/prune', 'OPTIONS /info'];
  const no = ['DELETE /images/x', 'DELETE /a', 'GET /volumes', 'POST /volumes/create', 'PATCH /v1.41/volumes/a/b'];
  assert.deepEqual(permitted(policy, ...yes, ...no), yes);
});

test('a name in a denial may have slashes; in an allowance it has none', () => {
  const images = deny('docker:DELETE /images/*', 'docker:POST /containers/*/stop');
  const no = ['DELETE /images/registry:5000/team/app:1', 'DELETE /images/a', 'POST /containers/web/db/stop'];
  const yes = ['POST /containers/web/db/start', 'POST /containers/stop', 'DELETE /images', 'GET /images/a/json'];
  assert.deepEqual(permitted(images, ...no, ...yes), yes);
  assert.deepEqual(permitted(allow('docker:GET /images/*/json'), 'GET /images/a/json', 'GET /images/a/b/json'), [
    'GET /images/a/json',
  ]);
});

test('many stars and a long path are judged at once', async () => {
  const policy = deny(`docker:GET ${'/*'.repeat(25)}/x`);
  const judge = () => {
    assert.ok(permitsCall(policy, 'GET', '/a'.repeat(2000)));
    assert.ok(!permitsCall(policy, 'GET', `${'/a'.repeat(2000)}/x`));
  };
  assert.ok((await cpuMs(judge)) < 1_000);
});

test('a HEAD is a GET, and no other method is taken for one', () => {
  assert.ok(!permitsCall(deny('docker:GET /containers/**'), 'HEAD', '/containers/web/archive'));
  assert.ok(permitsCall(allow('docker:GET'), 'HEAD', '/x'));
  for (const method of ['get', 'Get', '', 'GET ', 'OPTIONS', 'TRACE', 'PROPFIND']) {
    assert.ok(!permitsCall(allow('docker:GET'), method, '/x'), method);
  }
});

test('whether Docker is there may always be asked, and that alone', () => {
  const nothing = deny('docker:*');
  const yes = ['GET /_ping', 'HEAD /_ping', 'GET /version', 'GET /v1.41/version'];
  const no = ['POST /_ping', 'GET /_ping/x', 'GET /version/x', 'GET /info', 'POST /version'];
  assert.deepEqual(permitted(nothing, ...yes, ...no), yes);
});

test('however a path is written, it is the path that Docker reads, or it is refused', () => {
  const policy = deny('docker:* /containers/**');
  const written = [
    '/%63ontainers/json',
    '/v1.41/containers/json',
    '/v1/containers/json',
    '/v1.2.3.4/%63%6f%6e%74%61%69%6e%65%72%73/json',
    '/containers',
    '/containers/json?x=/images',
  ];
  for (const path of written) assert.ok(!permitsCall(policy, 'GET', path), path);
  assert.deepEqual(normalPath('/v1.41/images/a%3A1/json?x'), ['images', 'a:1', 'json']);
});

test('a path with two readings is never permitted', () => {
  const twice = [
    '',
    '/',
    'containers/json',
    'http://docker/containers/json',
    '//containers/json',
    '/x//containers/json',
    '/containers/json/',
    '/./containers/json',
    '/x/../containers/json',
    '/x/%2e%2E/containers/json',
    '/x/.%2e/containers/json',
    '/x%2f..%2fcontainers/json',
    '/x%5c..%5ccontainers/json',
    '/x\\..\\containers',
    '/%252e%252e/containers',
    '/x%00/containers',
    '/x\0/containers',
    '/x%0d%0a/containers',
    '/x y',
    '/x%20y',
    '/x%',
    '/x%zz',
    '/x%ff',
    '/cont\u0430iners/json',
    '/x%3f/containers',
    '/x#/containers',
    '/x;%23y',
    '/v1.41',
    '/v1.41/',
    `/${'x'.repeat(5000)}`,
  ];
  for (const path of twice) assert.ok(!permitsCall(allow(), 'GET', path), JSON.stringify(path));
});

test('parts of Docker that this version does not know are found', () => {
  assert.ok(isKnownArea('docker:DELETE /containers/*') && isKnownArea('docker:DELETE') && isKnownArea('docker:* /*/x'));
  assert.ok(!isKnownArea('docker:DELETE /contaners/*'));
});
