import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { formatToken, parseToken } from '../../../certs/enrollment-token.ts';
import { isFairleadError } from '../../../shared/errors.ts';

const parts = { pin: `sha256:${'0a'.repeat(32)}`, id: randomUUID(), secret: randomBytes(32) };
const token = formatToken(parts);

function refuses(parse: () => unknown, why: RegExp, secret = token): void {
  assert.throws(parse, (error) => {
    assert.ok(isFairleadError(error, 'TOKEN_INVALID'), String(error));
    assert.match(error.message, why);
    assert.equal(error.message.includes(secret.slice(10, 30)), false, 'the message repeats the token');
    return true;
  });
}

test('a token gives back what it was made of', () => {
  assert.deepEqual(parseToken(token), parts);
  assert.deepEqual(parseToken('fle1', token), parts);
  assert.deepEqual(parseToken(` ${token}\n`), parts);
  for (const id of ['a', '_-9Z', 'x'.repeat(64)]) assert.equal(parseToken(formatToken({ ...parts, id })).id, id);
});

test('a token begins with its kind and version, and is one word', () => {
  assert.match(token, /^fle1\.[A-Za-z0-9_-]+$/);
  assert.match(formatToken('fla1', parts), /^fla1\.[A-Za-z0-9_-]+$/);
});

test('an API token is its own kind', () => {
  const api = formatToken('fla1', parts);
  assert.deepEqual(parseToken('fla1', api), parts);
  refuses(() => parseToken(api), /this is not an enrollment token, .* it is an API token/);
  refuses(() => parseToken('fla1', token), /this is not an API token, .* it is an enrollment token/);
  refuses(() => parseToken('fla1', `fla1.${token.slice(5)}`), /mistyped/);
});

test('a wrong prefix is named', () => {
  for (const text of ['', 'hello', `fle2.${token.slice(5)}`, token.slice(1), token.slice(5), 'toString.x', '.']) {
    refuses(() => parseToken(text), /this is not an enrollment token, which begins with "fle1\."/);
  }
});

test('a token cut anywhere is refused, and told so', () => {
  for (let end = 5; end < token.length; end++)
    refuses(() => parseToken(token.slice(0, end)), /truncated: copy all of it/);
});

test('a token with a changed character is refused', () => {
  for (let at = 5; at < token.length; at++) {
    const other = token[at] === 'A' ? 'B' : 'A';
    refuses(() => parseToken(token.slice(0, at) + other + token.slice(at + 1)), /mistyped|truncated/);
  }
  refuses(() => parseToken(`${token}A`), /mistyped/);
  refuses(() => parseToken(`${token}AAAA`), /mistyped/);
});

test('a token with anything else in it is refused', () => {
  refuses(() => parseToken(`${token.slice(0, 20)} ${token.slice(20)}`), /characters that no token has/);
  refuses(() => parseToken(`${token.slice(0, 20)}\n${token.slice(20)}`), /characters that no token has/);
  refuses(() => parseToken(`${token}=`), /characters that no token has/);
  refuses(() => parseToken(`${token}.x`), /characters that no token has/);
  refuses(() => parseToken(`${token} ${token}`), /too long: copy it alone/);
  refuses(() => parseToken(`fle1.${'A'.repeat(1_000_000)}`), /too long/);
});

test('parts that no token can carry are refused', () => {
  const refused = (error: unknown) => isFairleadError(error, 'VALIDATION');
  for (const wrong of [{ id: '' }, { id: 'a b' }, { id: 'x'.repeat(65) }, { secret: randomBytes(31) }, { pin: 'x' }]) {
    assert.throws(() => formatToken({ ...parts, ...wrong }), refused);
  }
});
