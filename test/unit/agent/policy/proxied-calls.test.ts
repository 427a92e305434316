import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denies, mergePolicy, names, type PolicySubject } from '../../../../agent/policy/policy.ts';
import { permitsProxied } from '../../../../agent/policy/proxied-calls.ts';
import { KNOWN_CALLS } from '../../../../shared/docker/api-calls.ts';
import type { HostPolicy } from '../../../../shared/messages/control.ts';
import { dockerRequest, dockerUpgrade } from '../../../../shared/messages/docker.ts';

/** As the agent reads it from its command line. */
const allow = (...entries: string[]) => mergePolicy({}, { allow: entries });
const deny = (...entries: string[]) => mergePolicy({}, { deny: entries });
const ALL = allow();

const READS = [
  'GET /containers/json?all=1',
  'GET /v1.41/containers/web/json',
  'POST /containers/web/wait',
  'GET /info',
  'GET /containers/a/b/json',
];
const LIFE = ['start', 'stop', 'restart', 'kill', 'pause', 'unpause'].map((verb) => `POST /containers/web/${verb}`);
const CHANGES = [
  'GET /images/search?term=x',
  'POST /containers/create',
  'DELETE /containers/web',
  'POST /images/create?fromImage=x',
  'POST /build',
];
const EXECS = [
  'GET /containers/web/archive?path=/x',
  'GET /images/team/app/get',
  'POST /containers/web/exec',
  'POST /exec/1/start',
  'POST /exec/1/resize',
  'POST /containers/web/attach',
];
const UNKNOWN = ['GET /secrets', 'POST /swarm/init', 'PATCH /containers/web/json'];
const EVERYTHING = [...READS, ...LIFE, ...CHANGES, ...EXECS, ...UNKNOWN];

/** Those of `calls`, as `METHOD /path`, that `policy` permits. */
function permitted(policy: HostPolicy, calls: readonly string[], kind: PolicySubject = dockerRequest): string[] {
  return calls.filter((call) => {
    const [method = '', target = ''] = call.split(' ');
    return permitsProxied(policy, kind, method, target);
  });
}

test('without entries every call is permitted that is one', () => {
  assert.deepEqual(permitted(ALL, EVERYTHING), EVERYTHING);
  const twice = [
    'GET /x/../info',
    'GET //info',
    'GET /%2e%2e/info',
    'GET http://docker/info',
    'GET /info/',
    'GET info',
  ];
  assert.deepEqual(permitted(ALL, twice), []);
  assert.deepEqual(permitted(allow('docker.request'), twice), []);
});

test('each preset permits the calls of what it allows, and no others', () => {
  for (const kind of [dockerRequest, dockerUpgrade]) {
    assert.deepEqual(permitted(allow('read-only'), EVERYTHING, kind), READS);
    assert.deepEqual(permitted(allow('operate'), EVERYTHING, kind), [...READS, ...LIFE]);
    assert.deepEqual(permitted(allow('full'), EVERYTHING, kind), EVERYTHING);
    assert.deepEqual(permitted(allow('*'), EVERYTHING, kind), EVERYTHING);
  }
});

test('a class allows the calls of that class, as far as the kind itself is allowed', () => {
  assert.deepEqual(permitted(allow('read'), EVERYTHING), READS);
  assert.deepEqual(permitted(allow('read', 'change'), EVERYTHING), [...READS, ...LIFE, ...CHANGES]);
  assert.deepEqual(permitted(allow('change', 'exec'), EVERYTHING), [], 'the kind itself is a read');
});

test('every call of the table is permitted by its class and by its name, and denied by either', () => {
  for (const { written, name, policy } of KNOWN_CALLS) {
    const call = [written.replace('**', 'team/app').replace('*', 'web')];
    for (const each of ['read', 'change', 'exec'] as const) {
      const expected = policy === 'read' || policy === each ? call : [];
      assert.deepEqual(permitted(allow('read', each), call), expected, `${each}: ${written}`);
    }
    assert.deepEqual(permitted(allow('read', name), call), call, written);
    assert.deepEqual(permitted(deny(policy), call), [], written);
    assert.deepEqual(permitted(deny(name), call), [], written);
  }
});

test('deny exec: no exec, no attach and nothing that is not known, by either kind', () => {
  for (const kind of [dockerRequest, dockerUpgrade]) {
    const left = permitted(deny('exec'), EVERYTHING, kind);
    assert.deepEqual(left, [...READS, ...LIFE, ...CHANGES]);
    assert.deepEqual(permitted({ allow: ['full'], deny: ['exec'] }, EXECS, kind), []);
    assert.deepEqual(permitted({ allow: ['docker.request', 'docker.upgrade'], deny: ['exec'] }, EXECS, kind), []);
  }
});

test('deny of a kind denies the calls that do the same, under any version', () => {
  const calls = ['POST /containers/web/stop', 'POST /v1.41/containers/web/stop?t=1', 'POST /%63ontainers/web/stop'];
  assert.deepEqual(permitted(deny('container.stop'), calls), []);
  assert.deepEqual(permitted(deny('container.stop'), ['POST /containers/web/start', 'POST /containers/web/kill']), [
    'POST /containers/web/start',
    'POST /containers/web/kill',
  ]);
  assert.deepEqual(permitted(deny('container.exec', 'container.archive', 'image'), EXECS), [
    'POST /containers/web/attach',
  ]);
  assert.deepEqual(permitted(deny('container.*'), ['GET /containers/json', ...LIFE, ...EXECS, 'GET /info']), [
    'GET /images/team/app/get',
    'GET /info',
  ]);
  assert.deepEqual(permitted(deny('image.*'), ['POST /build', 'POST /images/create', 'GET /images/json']), []);
});

test('deny of the kind that carries calls leaves that kind none, and the other what is known', () => {
  assert.deepEqual(permitted(deny('docker.request'), EVERYTHING), []);
  assert.deepEqual(permitted(deny('docker'), EVERYTHING, dockerUpgrade), []);
  const known = EVERYTHING.filter((call) => !UNKNOWN.includes(call));
  assert.deepEqual(permitted(deny('docker.request'), EVERYTHING, dockerUpgrade), known);
});

test('allow of the carrying kind by its own name is enough for every call', () => {
  for (const entry of ['docker.request', 'docker', 'docker.*']) {
    assert.deepEqual(permitted(allow(entry), EVERYTHING), EVERYTHING, entry);
  }
  assert.deepEqual(permitted(allow('docker.request'), EVERYTHING, dockerUpgrade), []);
  assert.deepEqual(permitted(allow('docker.request', 'read-only'), CHANGES), CHANGES);
  assert.deepEqual(permitted({ allow: ['docker.request'], deny: ['change'] }, CHANGES), []);
});

test('allow of other kinds alone permits no call: nothing may carry it', () => {
  assert.deepEqual(permitted(allow('container.list'), EVERYTHING), []);
  assert.deepEqual(permitted(allow('container.*'), EVERYTHING), []);
  assert.deepEqual(permitted(allow('container.list', 'docker.upgrade'), ['GET /containers/json', 'GET /info']), []);
});

test('entries about Docker calls are asked as well, and are no word about kinds', () => {
  assert.deepEqual(permitted(allow('docker:GET'), [...READS, ...UNKNOWN]), [
    'GET /containers/json?all=1',
    'GET /v1.41/containers/web/json',
    'GET /info',
    'GET /containers/a/b/json',
    'GET /secrets',
  ]);
  assert.deepEqual(permitted(deny('docker:POST /containers/*/stop'), LIFE.slice(0, 3)), [LIFE[0], LIFE[2]]);
  assert.deepEqual(permitted({ allow: ['docker.request'], deny: ['docker:* /containers/**'] }, [...LIFE, ...EXECS]), [
    'GET /images/team/app/get',
    'POST /exec/1/start',
    'POST /exec/1/resize',
  ]);
  // Both have their say.
  const both = allow('read-only', 'docker:* /containers/**');
  assert.deepEqual(permitted(both, ['GET /containers/json', 'POST /containers/web/stop', 'GET /info']), [
    'GET /containers/json',
  ]);
});

test('whether Docker is there may be asked by whom the kind is allowed to, whatever its calls', () => {
  assert.deepEqual(permitted(deny('docker:*'), ['GET /_ping', 'HEAD /_ping', 'GET /v1.41/version', 'GET /info']), [
    'GET /_ping',
    'HEAD /_ping',
    'GET /v1.41/version',
  ]);
  assert.deepEqual(permitted(deny('host.info'), ['GET /_ping', 'GET /info']), []);
});

test('by name is by its whole name or its beginning at a dot, and by no class or preset', () => {
  const by = (...entries: string[]) => names(entries, dockerRequest);
  assert.ok(by('docker.request') && by('docker') && by('docker.*') && by('read', 'docker'));
  for (const entry of ['*', 'read', 'full', 'read-only', 'dock', 'docker.req', 'docker.upgrade', 'docker:GET', '']) {
    assert.ok(!by(entry), entry);
  }
  assert.ok(denies(deny('read'), dockerRequest) && denies(deny('*'), dockerRequest));
  assert.ok(!denies(deny('exec', 'docker:GET'), dockerRequest) && !denies(ALL, dockerRequest));
});

test('a call that nobody knows may be a change as well as an exec, and goes by no name of what it does', () => {
  for (const entry of ['change', 'exec']) assert.deepEqual(permitted(deny(entry), UNKNOWN), [], entry);
  assert.deepEqual(permitted(allow('read', 'change'), UNKNOWN), []);
  assert.deepEqual(permitted(allow('read', 'change', 'exec'), UNKNOWN), UNKNOWN);
});

test('names with slashes, and versions that Podman alone takes, hide no call', () => {
  const calls = [
    'POST /containers/web/db/kill',
    'DELETE /containers/web/db',
    'POST /v1.40-x/containers/web/kill',
    'POST /v4.0.0/containers/web/kill',
  ];
  assert.deepEqual(permitted(deny('container'), calls), []);
  assert.deepEqual(permitted(deny('container.kill', 'container.remove'), calls), []);
});
