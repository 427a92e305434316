import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS, type ErrorCode } from '../../../../shared/errors.ts';
import { closeCode, endByTransport, endOf, violation } from '../../../../shared/mux/session-end.ts';

test("the peer's mistakes close with 1002, everything else with 1001", () => {
  const mistakes = ['PROTOCOL_ERROR', 'FLOW_CONTROL_ERROR', 'FRAME_TOO_LARGE', 'MESSAGE_INVALID'];
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    assert.equal(closeCode(code), mistakes.includes(code) ? 1002 : 1001, code);
  }
  assert.equal(violation('x').code, 'PROTOCOL_ERROR');
});

test('a goaway says why, by whom and for how long', () => {
  assert.deepEqual(endOf({ code: 'SHUTDOWN', reason: 'update' }, 'remote'), {
    code: 'SHUTDOWN',
    reason: 'update',
    by: 'remote',
  });
  assert.deepEqual(endOf({ code: 'VERSION', reason: '', retryAfterMs: 0, versions: [1] }, 'local'), {
    code: 'VERSION',
    reason: '',
    by: 'local',
    retryAfterMs: 0,
    versions: [1],
  });
});

test('a code of a later version is kept in the text', () => {
  for (const unknown of ['FUTURE', '', 'constructor', '__proto__', 'toString']) {
    const end = endOf({ code: unknown, reason: 'why' }, 'remote');
    assert.equal(end.code, 'INTERNAL');
    assert.equal(end.reason, `${unknown}: why`);
  }
});

test('a close whose reason is a code counts as a goaway that was lost', () => {
  const end = endByTransport({ code: 1001, reason: 'SHUTDOWN' });
  assert.equal(end.code, 'SHUTDOWN');
  assert.equal(end.by, 'remote');
});

test('any other close is the network', () => {
  const reset = new Error('read ECONNRESET');
  for (const [end, reason] of [
    [{ code: 1006, reason: '' }, 'the connection closed with code 1006'],
    [{ code: 1000, reason: 'bye' }, 'the connection closed with code 1000'],
    [{ code: 1000, reason: 'constructor' }, 'the connection closed with code 1000'],
    [{ code: 1006, reason: '', error: reset }, 'read ECONNRESET'],
  ] as const) {
    assert.deepEqual(endByTransport(end), { code: 'STREAM_INTERRUPTED', reason, by: 'network' });
  }
});
