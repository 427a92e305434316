/** Whatever an agent of Hawser sends, the parser takes it or says no, and bytes come back as they went. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isFairleadError } from '../../shared/errors.ts';
import { FROM_AGENT } from '../../shared/hawser/messages.ts';
import { fromBase64, parseAgentMessage } from '../../shared/hawser/parse.ts';

const TYPES = Object.keys(FROM_AGENT);
const key = fc.oneof(
  fc.constantFrom(
    'requestId',
    'execId',
    'data',
    'statusCode',
    'headers',
    'metrics',
    'event',
    'error',
    'token',
    '__proto__',
  ),
  fc.string(),
);

/** @returns what was thrown, which may be nothing but a refusal */
function refusalOf(text: string): unknown {
  try {
    parseAgentMessage(text);
    return undefined;
  } catch (error) {
    assert.ok(isFairleadError(error, 'MESSAGE_INVALID'), String(error));
    return error;
  }
}

test('any text is taken or refused', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => void refusalOf(text)),
    { numRuns: 500 },
  );
});

test('any object of a known type is taken or refused', () => {
  const message = fc
    .tuple(fc.constantFrom(...TYPES), fc.dictionary(key, fc.jsonValue({ maxDepth: 4 }), { maxKeys: 6 }))
    .map(([type, fields]) => JSON.stringify({ ...fields, type }));
  fc.assert(
    fc.property(message, (text) => void refusalOf(text)),
    { numRuns: 500 },
  );
});

test('bytes survive base64', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.deepEqual(fromBase64(Buffer.from(bytes).toString('base64')), Buffer.from(bytes));
    }),
    { numRuns: 200 },
  );
});
