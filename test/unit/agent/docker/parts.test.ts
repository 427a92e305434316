import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { parseDockerAddress } from '../../../../agent/docker/address.ts';
import { connectionFailure, neverSent } from '../../../../agent/docker/failure.ts';
import { answerFailure } from '../../../../shared/docker/answer-failure.ts';
import { dockerPath } from '../../../../shared/docker/call.ts';
import { asObject, asObjects, jsonLines, parseDockerJson, readText } from '../../../../shared/docker/json.ts';
import { toDockerTime } from '../../../../shared/docker/time.ts';
import { isFairleadError } from '../../../../shared/errors.ts';

const NOW = Date.parse('2026-01-02T03:04:05Z');

test('addresses: paths, unix:// and tcp://, and nothing else', () => {
  assert.deepEqual(parseDockerAddress('/run/d.sock'), { text: '/run/d.sock', socketPath: '/run/d.sock' });
  assert.deepEqual(parseDockerAddress('unix:///run/d.sock'), { text: '/run/d.sock', socketPath: '/run/d.sock' });
  assert.deepEqual(parseDockerAddress('tcp://10.0.0.1'), { text: 'tcp://10.0.0.1:2375', host: '10.0.0.1', port: 2375 });
  assert.deepEqual(parseDockerAddress('tcp://[::1]:99'), { text: 'tcp://[::1]:99', host: '::1', port: 99 });
  for (const bad of ['', 'docker.sock', 'http://x', 'tcp://', 'tcp://h/path', 'tcp://u@h', 'ssh://h', 'unix://rel']) {
    assert.throws(
      () => parseDockerAddress(bad),
      (error) => isFairleadError(error, 'VALIDATION'),
      bad,
    );
  }
});

test('times: Unix seconds pass, RFC 3339 keeps its nanoseconds, durations are before now', () => {
  const cases: [string, string][] = [
    ['1767323045', '1767323045'],
    ['1767323045.000000001', '1767323045.000000001'],
    ['2026-01-02T03:04:05Z', '1767323045.000000000'],
    ['2026-01-02T04:04:05.123456789+01:00', '1767323045.123456789'],
    ['2026-01-02T03:04:05', '1767323045.000000000'],
    ['2026-01-02', '1767312000.000000000'],
    ['10m', '1767322445.000000000'],
    ['1h30m', '1767317645.000000000'],
    ['500ms', '1767323044.500000000'],
  ];
  for (const [text, expected] of cases) assert.equal(toDockerTime(text, NOW), expected, text);
});

test('times that are none are refused', () => {
  for (const bad of ['yesterday', '2026-13-01', '2026-01-02T99:00', '10x', '-5m', '1.2.3']) {
    assert.throws(
      () => toDockerTime(bad, NOW),
      (error) => isFairleadError(error, 'VALIDATION'),
      bad,
    );
  }
});

test('paths escape what is put into them', () => {
  assert.equal(dockerPath`/containers/${'../x?y#z'}/json`, '/containers/..%2Fx%3Fy%23z/json');
});

test('__proto__ keys are dropped, however they are spelt, and nothing else is', () => {
  const plain = '{"Labels":{"__proto__":{"x":1},"constructor":"kept","a":"__proto__"},"n":[1]}';
  const escaped = '{"a":{"\\u005f_proto__":1,"b":"\\u00e9"}}';
  const parsed = asObject(parseDockerJson(plain));
  const labels = asObject(parsed['Labels']);
  assert.deepEqual(Object.keys(labels), ['constructor', 'a']);
  assert.equal(Object.getPrototypeOf(labels), Object.prototype);
  assert.deepEqual(parsed['n'], [1]);
  assert.deepEqual(parseDockerJson(escaped), { a: { b: 'é' } });
});

test('JSON of another form than expected is an error of Docker', () => {
  const isDockerError = (error: unknown) => isFairleadError(error, 'DOCKER_ERROR');
  assert.throws(() => parseDockerJson('<html>'), isDockerError);
  assert.throws(() => asObject([]), isDockerError);
  assert.throws(() => asObject(null), isDockerError);
  assert.throws(() => asObjects({}), isDockerError);
  assert.throws(() => asObjects(['x']), isDockerError);
});

test('bodies and lines have a limit', async () => {
  const chunks = () => Readable.from([Buffer.from('12345'), Buffer.from('67890')], { objectMode: false });
  assert.equal(await readText(chunks(), 10), '1234567890');
  await assert.rejects(readText(chunks(), 9), (error) => isFairleadError(error, 'DOCKER_ERROR'));
  await assert.rejects(
    async () => {
      for await (const _ of jsonLines(chunks(), 9)) assert.fail('there is no line');
    },
    (error) => isFairleadError(error, 'DOCKER_ERROR'),
  );
});

test('JSON lines come out whatever the pieces', async () => {
  const body = Buffer.from('{"a":1}\n\n{"b":"é"}\r\n{"c":3}');
  for (let size = 1; size <= body.length; size++) {
    const pieces: Buffer[] = [];
    for (let at = 0; at < body.length; at += size) pieces.push(body.subarray(at, at + size));
    const found: unknown[] = [];
    for await (const value of jsonLines(Readable.from(pieces, { objectMode: false }), 1000)) found.push(value);
    assert.deepEqual(found, [{ a: 1 }, { b: 'é' }, { c: 3 }]);
  }
});

test("Docker's error answers get their code and keep Docker's own words", () => {
  const cases: [number, string, string][] = [
    [404, '{"message":"No such container: x"}', 'CONTAINER_NOT_FOUND'],
    [404, '{"message":"network y not found"}', 'NOT_FOUND'],
    [400, '{"message":"bad parameter"}', 'VALIDATION'],
    [409, '{"message":"is paused"}', 'CONFLICT'],
    [501, '{"message":"driver does not support reading"}', 'UNSUPPORTED'],
    [500, '{"message":"boom"}', 'DOCKER_ERROR'],
    [503, 'plain text', 'DOCKER_ERROR'],
  ];
  for (const [status, body, code] of cases) {
    const error = answerFailure(status, body);
    assert.equal(error.code, code);
    assert.equal(error.message, body.startsWith('{') ? JSON.parse(body).message : body);
  }
  assert.equal(answerFailure(500, '').message, 'HTTP status 500');
  assert.ok(answerFailure(500, 'x'.repeat(10_000)).message.length < 1_000);
});

test('connection failures say why, and whether anything was sent', () => {
  const failed = (code: string, syscall: string) =>
    connectionFailure(Object.assign(new Error(code), { code, syscall }), '/d.sock');
  for (const [code, why] of [
    ['ENOENT', /no socket/],
    ['EACCES', /no permission/],
    ['ECONNREFUSED', /refused/],
  ] as const) {
    const error = failed(code, 'connect');
    assert.equal(error?.code, 'DOCKER_UNREACHABLE');
    assert.match(error?.message ?? '', why);
    assert.equal(neverSent(error), true);
  }
  assert.equal(neverSent(failed('ECONNRESET', 'read')), false);
  assert.equal(failed('EMFILE', 'connect')?.code, 'DOCKER_UNREACHABLE');
  assert.equal(connectionFailure(new TypeError('a bug'), '/d.sock'), undefined);
});
