/** Messages of Hawser: what is taken, what is refused, and that nothing of what was sent stands in a refusal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorText } from '../../../../shared/hawser/messages.ts';
import { fromBase64, parseAgentMessage, parseServerMessage } from '../../../../shared/hawser/parse.ts';

const invalid = { name: 'FairleadError', code: 'MESSAGE_INVALID' };
const HELLO = {
  ...{ type: 'hello', version: '0.2.14', protocol: '1.0', agentId: 'a', agentName: 'n', token: 'the-secret' },
  ...{ dockerVersion: '20.10.24', hostname: 'vm', capabilities: ['exec'] },
};

function parsed(value: unknown) {
  const result = parseAgentMessage(JSON.stringify(value));
  assert.ok('message' in result);
  return result.message;
}

test('hellos of all releases are taken, with what newer ones add', () => {
  assert.deepEqual(parsed(HELLO), HELLO);
  const newer = { ...HELLO, tokenHash: 'ab', somethingNew: { deep: [1] } };
  assert.deepEqual(parsed(newer), newer);
  const { protocol: _, hostname: __, ...older } = { ...HELLO, version: '1.0', capabilities: null };
  assert.deepEqual(parsed(older), older);
});

test('both spellings of an error are read', () => {
  assert.equal(errorText({ type: 'error', error: 'a', message: 'b' }), 'a');
  assert.equal(errorText({ type: 'error', message: 'b' }), 'b');
  assert.equal(errorText({ type: 'error' }), 'no reason given');
});

test('a type that is not known is named, and is no error', () => {
  assert.deepEqual(parseAgentMessage('{"type":"bogus","x":1}'), { unknownType: 'bogus' });
  // What only a server says is not known of an agent.
  assert.deepEqual(parseAgentMessage('{"type":"welcome","environmentId":1}'), { unknownType: 'welcome' });
  assert.deepEqual(parseAgentMessage('{"type":"__proto__"}'), { unknownType: '__proto__' });
});

test('wrong types are refused without their values', () => {
  const wrong = [
    { ...HELLO, token: ['the-secret'] },
    { ...HELLO, agentId: 'x'.repeat(129) },
    { type: 'response', requestId: 'r', statusCode: '200' },
    { type: 'response', requestId: 'r', statusCode: 99 },
    { type: 'response', requestId: '', statusCode: 200 },
    { type: 'response', requestId: 'r', statusCode: 200, headers: { a: ['the-secret'] } },
    { type: 'stream', requestId: 'r', data: 5 },
    { type: 'metrics', timestamp: 1, metrics: { cpuUsage: 'the-secret' } },
    { type: 'exec_output', execId: 'e' },
    { type: 5 },
    {},
  ];
  for (const value of wrong) {
    assert.throws(
      () => parseAgentMessage(JSON.stringify(value)),
      (error: Error & { code: string }) => error.code === 'MESSAGE_INVALID' && !error.message.includes('the-secret'),
      JSON.stringify(value),
    );
  }
  for (const text of ['', '[]', 'null', '"x"', '{', '{"type":"ping"', 'the-secret', '\u0000']) {
    assert.throws(() => parseAgentMessage(text), { ...invalid, message: /^(?!.*the-secret)/ }, text);
  }
});

test('nesting is bounded before anything is parsed, and brackets in texts are no nesting', () => {
  const deep = (levels: number) => `{"type":"bogus","x":${'['.repeat(levels)}${']'.repeat(levels)}}`;
  assert.deepEqual(parseAgentMessage(deep(15)), { unknownType: 'bogus' });
  assert.throws(() => parseAgentMessage(deep(16)), { ...invalid, message: /nested deeper than 16/ });
  assert.throws(() => parseAgentMessage('['.repeat(1_000_000)), invalid);
  const text = JSON.stringify({ type: 'response', requestId: 'r', statusCode: 200, body: '[{"'.repeat(1_000) });
  assert.ok('message' in parseAgentMessage(text));
});

test('a welcome names its environment as its server likes, or not at all', () => {
  assert.ok('message' in parseServerMessage('{"type":"welcome","environmentId":7,"message":"hello"}'));
  assert.ok('message' in parseServerMessage('{"type":"welcome","serverId":"dockhand","version":"1.0"}'));
  assert.ok('message' in parseServerMessage('{"type":"welcome","environmentId":"abc-uuid"}'));
  assert.throws(() => parseServerMessage('{"type":"welcome","environmentId":{}}'), invalid);
});

test('base64 is that of Go, and nothing else', () => {
  assert.deepEqual(fromBase64('AQID'), Buffer.of(1, 2, 3));
  assert.deepEqual(fromBase64('AQ=='), Buffer.of(1));
  assert.deepEqual(fromBase64(''), Buffer.alloc(0));
  for (const text of ['!!!', 'AQI', 'A', 'AQ=', 'AQ==AQ==', 'A!Q=', '-_-_', 'AQ ID===', 'AQID\n']) {
    assert.throws(() => fromBase64(text), invalid, JSON.stringify(text));
  }
});
