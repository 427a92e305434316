/** What the audit log says of a call: what it is about and what it runs, and none of the secrets that calls carry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type CallFacts,
  factsOf,
  isAudited,
  isBodyTelling,
  readTellingBody,
} from '../../../../server/docker-proxy/call-facts.ts';
import type { ClientCall } from '../../../../server/docker-proxy/client-call.ts';
import { apiCall, KNOWN_CALLS } from '../../../../shared/docker/api-calls.ts';
import { normalPath } from '../../../../shared/docker/path.ts';
import { isFairleadError } from '../../../../shared/errors.ts';

function call(method: string, target: string): ClientCall {
  const [path, found] = [normalPath(target), apiCall(method, target)];
  assert.ok(path !== undefined && found !== undefined, target);
  return { method, target, path, call: found, headers: [['X-Registry-Auth', 'c2VjcmV0']], body: 'none' };
}

const facts = (method: string, target: string, body?: unknown): CallFacts =>
  factsOf(call(method, target), 'edge-1', body === undefined ? undefined : readTellingBody(JSON.stringify(body)));

test('a row names what the call is in the catalogue, the object, and the call as Docker has it', () => {
  assert.deepEqual(facts('POST', '/v1.41/containers/web/stop?t=5&signal=TERM'), {
    action: 'container.stop',
    target: 'edge-1/web',
    detail: { docker: 'POST /containers/web/stop', t: '5', signal: 'TERM' },
    isStrict: false,
  });
  assert.deepEqual(facts('DELETE', '/containers/web?force=1&v=true&link=0'), {
    action: 'container.remove',
    target: 'edge-1/web',
    detail: { docker: 'DELETE /containers/web', force: '1', v: 'true' },
    isStrict: false,
  });
});

test('the target is the object that the path or the query names, or else the host', () => {
  const targets: [method: string, target: string, about: string][] = [
    ['POST', '/containers/create?name=web', 'edge-1/web'],
    ['POST', '/containers/create', 'edge-1'],
    ['POST', '/containers/prune', 'edge-1'],
    ['POST', '/images/registry:5000/team/app:1/tag?repo=x&tag=2', 'edge-1/registry:5000/team/app:1'],
    ['POST', '/images/team/app/push', 'edge-1/team/app'],
    ['DELETE', '/images/team/app:1', 'edge-1/team/app:1'],
    ['POST', '/images/create?fromImage=app&tag=1', 'edge-1'],
    ['POST', '/images/load', 'edge-1'],
    ['DELETE', '/networks/lan', 'edge-1/lan'],
    ['POST', '/networks/lan/connect', 'edge-1/lan'],
    ['POST', '/volumes/create', 'edge-1'],
    ['POST', '/exec/abc/start', 'edge-1/abc'],
    ['POST', '/build/cancel', 'edge-1'],
    ['POST', '/build?t=app', 'edge-1'],
    ['DELETE', '/secrets/token', 'edge-1/token'],
  ];
  for (const [method, target, about] of targets) assert.equal(facts(method, target).target, about, target);
});

test('an exec is called as the one that is opened otherwise, and is written down or not done', () => {
  for (const target of ['/containers/web/exec', '/exec/abc/start']) {
    const { action, isStrict } = facts('POST', target);
    assert.deepEqual([action, isStrict], ['container.exec', true], target);
  }
  assert.ok(facts('POST', '/containers/web/attach').isStrict && facts('POST', '/swarm/init').isStrict);
  assert.ok(!facts('POST', '/containers/web/stop').isStrict);
  assert.equal(facts('POST', '/swarm/init').action, 'docker.request');
});

test('what changes the host or gets into a container leaves a row; what only reads, and a new size, do not', () => {
  for (const { written, policy } of KNOWN_CALLS) {
    const [method = '', path = ''] = written.replace('**', 'app').replace('*', 'web').split(' ');
    assert.equal(isAudited(call(method, path)), policy !== 'read' && !path.endsWith('/resize'), written);
  }
  assert.ok(isAudited(call('GET', '/secrets')) && isAudited(call('DELETE', '/containers/resize/x')));
});

test('the bodies that tell are those of a new container and a new exec', () => {
  for (const path of ['/containers/create', '/v1.41/containers/create?name=x', '/containers/web/exec']) {
    assert.ok(isBodyTelling(call('POST', path)), path);
  }
  for (const path of ['/containers/web/update', '/images/create', '/exec/abc/start', '/build', '/containers/prune']) {
    assert.ok(!isBodyTelling(call('POST', path)), path);
  }
  assert.ok(!isBodyTelling(call('PUT', '/containers/create')) && !isBodyTelling(call('GET', '/containers/web/exec')));
});

test('no secret of a query, of a header or of a body is in the facts', () => {
  const secrets = {
    buildargs: '{"TOKEN":"SECRET"}',
    remote: 'https://SECRET@git/x',
    networkmode: 'SECRET',
    x: 'SECRET',
  };
  const query = new URLSearchParams({ ...secrets, t: 'app:1', labels: '{"a":"SECRET"}', dockerfile: 'SECRET' });
  const body = {
    Image: 'app',
    Cmd: ['run'],
    Env: ['TOKEN=SECRET'],
    Labels: { a: 'SECRET' },
    HostConfig: { Binds: ['/SECRET:/x'] },
    Healthcheck: { Test: ['SECRET'] },
    username: 'SECRET',
    password: 'SECRET',
  };
  for (const written of [
    facts('POST', `/build?${query}`),
    facts('POST', `/containers/create?${query}`, body),
    facts('POST', `/auth?${query}`, { username: 'SECRET', password: 'SECRET' }),
    facts('POST', `/images/create?${query}`),
    facts('POST', `/containers/web/exec?${query}`, body),
  ]) {
    assert.doesNotMatch(JSON.stringify(written), /SECRET|c2VjcmV0/);
  }
  assert.equal(facts('POST', `/build?${query}`).detail['t'], 'app:1');
});

test('an import from an address with a password does not give it away', () => {
  const source = encodeURIComponent('https://user:SECRET@files.example/root.tar?sig=SECRET');
  assert.doesNotMatch(JSON.stringify(facts('POST', `/images/create?fromSrc=${source}&repo=app`)), /SECRET/);
});

test('of a new container it is told what lets it reach its host, in whatever letters', () => {
  const HostConfig = {
    Privileged: true,
    capAdd: ['SYS_ADMIN'],
    PidMode: 'host',
    NetworkMode: 'bridge',
    CapDrop: ['ALL'],
  };
  const { docker, ...detail } = facts('POST', '/containers/create', { image: 'app', hostCONFIG: HostConfig }).detail;
  assert.deepEqual(detail, { image: 'app', privileged: true, capadd: ['SYS_ADMIN'], pidmode: 'host' });
  const plain = facts('POST', '/containers/create', { Image: 'app', HostConfig: { Privileged: false, CapAdd: [] } });
  assert.deepEqual(plain.detail, { docker, image: 'app' });
});

test('of a new exec its command, its user and its terminal are told', () => {
  const body = { Cmd: ['rm', '-rf', '/x'], User: 'root', Tty: true, Privileged: true, Env: ['A=1'], AttachStdin: true };
  assert.deepEqual(facts('POST', '/containers/web/exec', body).detail, {
    docker: 'POST /containers/web/exec',
    ...{ cmd: ['rm', '-rf', '/x'], user: 'root', tty: true, privileged: true },
  });
});

test('of a new container its image, its entry point and its command are told', () => {
  const body = { Image: 'app:1', Entrypoint: ['sh', '-c'], Cmd: ['x'], User: '', Tty: false };
  assert.deepEqual(facts('POST', '/containers/create?name=web', body).detail, {
    docker: 'POST /containers/create',
    ...{ name: 'web', image: 'app:1', entrypoint: ['sh', '-c'], cmd: ['x'], tty: false },
  });
});

test("fields count in any letter case, as Docker's JSON takes them", () => {
  const { detail } = facts('POST', '/containers/web/exec', { CMD: ['id'], uSeR: 'root' });
  assert.deepEqual([detail['cmd'], detail['user']], [['id'], 'root']);
});

test("letters that Docker's JSON takes for s and k do not hide a field", () => {
  // U+017F folds to s.
  assert.equal(facts('POST', '/containers/web/exec', { Cmd: ['id'], 'U\u017fer': 'root' }).detail['user'], 'root');
});

test('a body that Docker would read as something else is refused', () => {
  const bodies = [
    '',
    'null',
    '1',
    '"x"',
    '[]',
    '["cmd"]',
    '{"Cmd":["a"]} x',
    '{"Cmd":["a"]}}',
    '{"Cmd":["a"]}{"Cmd":["b"]}',
  ];
  const twice = [
    '{"Cmd":["a"],"cmd":["b"]}',
    '{"Cmd":["a"],"Cmd":["b"]}',
    '{"User":"a","U\u017fer":"b"}',
    '{"\\u0043md":1,"Cmd":2}',
  ];
  for (const body of [...bodies, ...twice]) {
    assert.throws(
      () => readTellingBody(body),
      (error) => isFairleadError(error, 'VALIDATION'),
      body,
    );
  }
  const nested = '{"Env":["Cmd"],"Cmd":["a","{\\"Cmd\\":1}"],"HostConfig":{"Cmd":1,"cmd":2}}';
  assert.deepEqual(readTellingBody(nested).get('cmd'), ['a', '{"Cmd":1}']);
});
