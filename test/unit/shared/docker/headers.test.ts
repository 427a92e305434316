import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { endToEnd, isHopByHop } from '../../../../shared/docker/headers.ts';

const HOP_BY_HOP = [
  'Connection',
  'Keep-Alive',
  'Proxy-Authenticate',
  'Proxy-Authorization',
  'Proxy-Connection',
  'TE',
  'Trailer',
  'Transfer-Encoding',
  'Upgrade',
];

test('what RFC 9110 calls hop by hop is so in any letter case, and nothing else is', () => {
  for (const name of HOP_BY_HOP) {
    for (const written of [name, name.toLowerCase(), name.toUpperCase()]) assert.ok(isHopByHop(written), written);
  }
  for (const name of ['Content-Length', 'Host', 'Trailers', 'X-Upgrade', 'Connection-Id', 'TE ', '']) {
    assert.ok(!isHopByHop(name), name);
  }
});

test('pairs keep their order, their letter case and how often they came', () => {
  const raw = ['Content-Type', 'text/plain', 'X-A', '1', 'x-a', '2', 'X-Empty', '', 'X-A', '1'];
  assert.deepEqual(endToEnd(raw), [
    ['Content-Type', 'text/plain'],
    ['X-A', '1'],
    ['x-a', '2'],
    ['X-Empty', ''],
    ['X-A', '1'],
  ]);
  assert.deepEqual(endToEnd([]), []);
});

test('what Connection names goes no further, from any of its lines', () => {
  const raw = ['X-One', '1', 'CONNECTION', 'x-one , Upgrade', 'x-TWO', '2', 'Upgrade', 'tcp', 'X-Three', '3'];
  assert.deepEqual(endToEnd([...raw, 'connection', ' X-Two,,close']), [['X-Three', '3']]);
});

test('the value of another header names nothing', () => {
  assert.deepEqual(endToEnd(['X-Connection', 'x-one', 'X-One', '1']), [
    ['X-Connection', 'x-one'],
    ['X-One', '1'],
  ]);
});

test('no hop-by-hop header is ever passed on, and every other one is, once', () => {
  const name = fc.constantFrom(...HOP_BY_HOP, 'Content-Type', 'X-A', 'x-b', 'Docker-Experimental');
  const pair = fc.tuple(name, fc.constantFrom('close', 'x-b', 'x-a, te', 'plain', ''));
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 12 }), (pairs) => {
      const named = pairs.filter(([key]) => key === 'Connection').flatMap(([, value]) => value.split(', '));
      const expected = pairs.filter(([key]) => !HOP_BY_HOP.includes(key) && !named.includes(key.toLowerCase()));
      assert.deepEqual(endToEnd(pairs.flat()), expected);
    }),
  );
});
