import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apiCall, KNOWN_CALLS } from '../../../../shared/docker/api-calls.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';

const UNKNOWN = { name: 'docker.request', role: 'admin', policy: 'exec' };

interface Row {
  readonly method: string;
  readonly path: string;
  readonly call: { readonly name: string; readonly role: string; readonly policy: string };
}

const ROWS: readonly Row[] = KNOWN_CALLS.map(({ written, ...call }) => {
  const [method = '', path = ''] = written.split(' ');
  return { method, path, call };
});

/** Every word of the table may be somebody's name, too. */
const WORDS = [...new Set(ROWS.flatMap(({ path }) => path.split('/')))].filter((part) => /^[a-z_]+$/.test(part));
const NAMES = ['web', 'a1b2c3d4e5f6', 'app:1.2', 'sha256:0123456789abcdef', ...WORDS];
const LONG_NAMES = ['team/app', 'registry:5000/team/app:1', 'app@sha256:0123', ...WORDS.map((word) => `team/${word}`)];

/** Paths that a row is for: a name, an id, and where names have slashes, longer ones too. */
function samples(path: string): string[] {
  if (path.includes('**')) return [...NAMES, ...LONG_NAMES].map((name) => path.replace('**', name));
  return path.includes('*') ? NAMES.map((name) => path.replace('*', name)) : [path];
}

/** What is asked, as `NAME ROLE CLASS`. */
function said(method: string, target: string): string | undefined {
  const call = apiCall(method, target);
  return call && `${call.name} ${call.role} ${call.policy}`;
}

test('every row is found by each path that it is for, with a version and a query and without', () => {
  assert.ok(ROWS.length > 60, `${ROWS.length} rows`);
  for (const { method, path, call } of ROWS) {
    for (const sample of samples(path)) {
      for (const target of [sample, `/v1.41${sample}`, `/v1.2.3${sample}?all=1&x=/images/y`, `/v1${sample}`]) {
        assert.deepEqual(apiCall(method, target), call, `${method} ${target}`);
      }
    }
  }
});

test('no two rows of one method are for one path', () => {
  for (const { method, path, call } of ROWS) {
    for (const sample of samples(path)) {
      const matching = ROWS.filter((row) => row.method === method && isFor(row.path, sample));
      assert.deepEqual(
        matching.map((row) => row.path),
        [path],
        `${method} ${sample} of ${call.name}`,
      );
    }
  }
});

/** The rows read by another hand than the one under test. */
function isFor(pattern: string, path: string): boolean {
  const parts = pattern.split('/').map((part) => {
    if (part === '**') return '.+';
    return part === '*' ? '[^/]+' : part.replaceAll('.', '\\.');
  });
  return new RegExp(`^${parts.join('/')}$`).test(path);
}

test('a row that goes by the name of a kind has its role and its class', () => {
  const shared = ROWS.filter(({ call }) => STREAM_KINDS.some(({ name }) => name === call.name));
  for (const { method, path, call } of shared) {
    const kind = STREAM_KINDS.find(({ name }) => name === call.name);
    assert.deepEqual([call.role, call.policy], [kind?.role, kind?.policy], `${method} ${path}`);
  }
  const found = new Set(shared.map(({ call }) => call.name));
  // One call of ours for several of Docker's, which go by the name of what is open.
  found.add('container.exec.run');
  const missing = STREAM_KINDS.map(({ name }) => name).filter((name) => /^container\./.test(name) && !found.has(name));
  assert.deepEqual(missing, [], 'what a kind does to a container, Docker has a call for');
});

test('rows of one name have one role and one class', () => {
  for (const { path, call } of ROWS) {
    const first = ROWS.find((row) => row.call.name === call.name);
    assert.deepEqual(first?.call, call, path);
  }
});

test('who may only read is given no change', () => {
  for (const { path, call } of ROWS) {
    if (call.policy !== 'read') assert.notEqual(call.role, 'viewer', path);
  }
});

test('what is not in the table needs an admin and counts as exec', () => {
  const unknown = [
    ['GET', '/secrets'],
    ['DELETE', '/secrets/x'],
    ['POST', '/swarm/init'],
    ['POST', '/services/create'],
    ['POST', '/plugins/pull'],
    ['GET', '/plugins/x/json'],
    ['GET', '/configs/x'],
    ['GET', '/debug/pprof'],
    ['GET', '/containers'],
    ['GET', '/new/in/docker'],
    ['POST', '/containers/web/explode'],
    ['GET', '/containers/web'],
    ['GET', '/x'],
  ] as const;
  for (const [method, path] of unknown) assert.deepEqual(apiCall(method, path), UNKNOWN, `${method} ${path}`);
});

test('a method that a path does not have is unknown, however mild its neighbour', () => {
  for (const [method, path] of [
    ['HEAD', '/containers/json'],
    ['POST', '/containers/json'],
    ['PUT', '/info'],
    ['PATCH', '/containers/web/json'],
    ['OPTIONS', '/_ping'],
    ['get', '/containers/json'],
    ['', '/containers/json'],
    ['GET', '/containers/web/exec'],
    ['GET', '/exec/1/start'],
    ['DELETE', '/images'],
  ] as const) {
    assert.deepEqual(apiCall(method, path), UNKNOWN, `${method} ${path}`);
  }
});

test('names of images have slashes, and may be a verb themselves', () => {
  assert.equal(said('GET', '/images/registry:5000/team/app:1/json'), 'image.inspect viewer read');
  assert.equal(said('GET', '/images/team/get/json'), 'image.inspect viewer read');
  assert.equal(said('GET', '/images/json/get'), 'image.save operator exec');
  assert.equal(said('POST', '/images/create/tag'), 'image.tag operator change');
  assert.equal(said('DELETE', '/images/a/b/c/d:1'), 'image.remove operator change');
  assert.equal(said('GET', '/distribution/library/busybox/json'), 'image.search operator change');
});

test('no name lets a path through to a milder call', () => {
  assert.equal(said('GET', '/images/search'), 'image.search operator change');
  assert.equal(said('GET', '/images/get'), 'image.save operator exec');
  assert.equal(said('POST', '/containers/create'), 'container.create operator change');
  assert.equal(said('POST', '/containers/prune'), 'container.prune operator change');
  assert.equal(said('POST', '/containers/json/exec'), 'container.exec.open operator exec');
  assert.equal(said('POST', '/containers/wait/kill'), 'container.kill operator change');
});

test('names of containers and the like may have slashes, as in Docker: the last part says what is done', () => {
  assert.equal(said('GET', '/containers/web/archive/json'), 'container.inspect viewer read');
  assert.equal(said('POST', '/containers/a/exec/wait'), 'container.wait viewer read');
  assert.equal(said('POST', '/containers/a/b/exec'), 'container.exec.open operator exec');
  assert.equal(said('GET', '/containers/a/b/attach/ws'), 'container.attach operator exec');
  assert.equal(said('DELETE', '/containers/web/stop'), 'container.remove operator change');
  assert.equal(said('GET', '/networks/a/b'), 'network.inspect viewer read');
  assert.deepEqual(apiCall('GET', '/v1.41/v1.41/containers/json'), UNKNOWN);
});

test('escapes are read once, as Docker reads them', () => {
  assert.equal(said('POST', '/%63ontainers/web/ex%65c'), 'container.exec.open operator exec');
  assert.equal(said('GET', '/images/app%3A1/json'), 'image.inspect viewer read');
  assert.equal(said('GET', '/containers/web/json?x=%2Fexec%2F..'), 'container.inspect viewer read');
});

test('a path with two readings is no call at all', () => {
  const twice = ['', '/', 'containers/json', '//containers/json', '/containers//json', '/containers/json/', '/v1.41'];
  const tricks = ['/x/../containers/json', '/x/%2e%2e/containers/json', '/x%2f..%2fcontainers/json', '/./info'];
  const bytes = ['/containers\\json', '/containers%00/json', '/inf\0o', '/info%20', '/inf%6', '/%252e%252e/info'];
  const whole = ['http://docker/containers/json', 'docker:2375', '*', '?all=1', '/info#x'];
  for (const path of [...twice, ...tricks, ...bytes, ...whole]) {
    assert.equal(apiCall('GET', path), undefined, JSON.stringify(path));
  }
});
