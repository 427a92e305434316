/** What an answer's own bytes say of its end, where the agent's word is worth nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EndCheck, isStreaming } from '../../../../../server/hawser/standard/end-check.ts';
import { JsonEnd } from '../../../../../server/hawser/standard/json-end.ts';
import type { HeaderPair } from '../../../../../shared/docker/headers.ts';

const JSON_TYPE: HeaderPair[] = [['Content-Type', 'application/json']];

/** What is said of an answer that ends so. */
function failure(call: string, body: string, elapsedMs: number, headers: HeaderPair[] = JSON_TYPE): string | undefined {
  const [method = '', path = ''] = call.split(' ');
  const check = new EndCheck({ method, path }, { status: 200, headers });
  for (const byte of Buffer.from(body)) check.add(Buffer.of(byte));
  return check.failure(elapsedMs)?.message;
}

test('one JSON value is whole when it is closed, however long it took, and never before', () => {
  assert.equal(failure('GET /containers/json', '[{"Id":"]}"}]', 5), undefined);
  assert.equal(failure('GET /system/df', '{"a":1}\n', 31_000), undefined);
  assert.match(failure('GET /containers/json', '[{"Id":"]}"}', 5) ?? '', /too soon/);
  assert.match(failure('GET /system/df', '{"a":"\\"}', 31_000) ?? '', /30 s/);
});

test('a wait that was cut off has no value at all', () => {
  assert.match(failure('POST /v1.41/containers/web/wait', '', 30_000) ?? '', /30 s/);
  assert.equal(failure('POST /v1.41/containers/web/wait', '{"StatusCode":0}', 12_000), undefined);
});

test('records say of none of them that it is the last: at the time of the cut they are not believed', () => {
  for (const call of ['GET /containers/web/stats?stream=1', 'POST /images/load']) {
    assert.equal(failure(call, '{"n":1}\n{"n":2}\n', 10_000), undefined);
    assert.match(failure(call, '{"n":1}\n', 29_500) ?? '', /30 s/);
  }
  assert.equal(failure('GET /events', '{"n":1}\n', 90_000), undefined);
  assert.match(failure('GET /events', '{"n":1}\n{"n', 90_000) ?? '', /too soon/);
});

test('a tar is whole at its end marks alone', () => {
  const blocks = '\0'.repeat(1024);
  for (const path of [
    '/containers/web/archive?path=/',
    '/images/get?names=a',
    '/images/a/get',
    '/containers/web/export',
  ]) {
    assert.equal(failure(`GET ${path}`, blocks, 40_000, []), undefined, path);
    assert.match(failure(`GET ${path}`, '\0'.repeat(700), 1, []) ?? '', /broke off/, path);
  }
});

test('what says its length, or has no body, is checked by its framing; text is believed but for the time of the cut', () => {
  assert.equal(failure('GET /containers/json', '[', 31_000, [...JSON_TYPE, ['content-length', '1']]), undefined);
  assert.equal(failure('HEAD /containers/web/archive', '', 31_000), undefined);
  assert.equal(failure('GET /_ping', 'OK', 100, []), undefined);
  assert.match(failure('GET /_ping', 'OK', 29_100, []) ?? '', /30 s/);
});

test('knows the calls that the agent lets go on', () => {
  const streaming = ['GET /v1.41/containers/a/logs?follow=1', 'POST /containers/a/attach', 'POST /exec/e/start'];
  for (const call of [...streaming, 'GET /events', 'POST /build', 'POST /images/create', 'POST /images/lib/a/push']) {
    const [method = '', path = ''] = call.split(' ');
    assert.ok(isStreaming({ method, path }), call);
  }
  for (const call of ['GET /containers/a/stats', 'POST /containers/a/wait', 'POST /images/load', 'GET /images/get']) {
    const [method = '', path = ''] = call.split(' ');
    assert.ok(!isStreaming({ method, path }), call);
  }
});

test('JSON of any sort is between values where it is whole, and in the middle of one where it is cut', () => {
  const value = fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.array(fc.jsonValue()));
  const check = fc.property(value, fc.nat(), (json, at) => {
    const bytes = Buffer.from(JSON.stringify(json));
    const cut = 1 + (at % Math.max(1, bytes.byteLength - 1));
    const end = new JsonEnd();
    end.add(bytes.subarray(0, cut));
    if (cut < bytes.byteLength) assert.equal(end.isBetween, false);
    end.add(bytes.subarray(cut));
    assert.deepEqual([end.isBetween, end.values], [true, 1]);
  });
  fc.assert(check, { numRuns: 500 });
});
