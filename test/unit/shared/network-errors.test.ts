import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainNetworkError, type NetworkFailure } from '../../../shared/network-errors.ts';

function coded(code: string): Error {
  return Object.assign(new Error(`some text with https://user:secret@proxy ${code}`), { code });
}

test('failures are told apart by their code', () => {
  const cases: Record<string, NetworkFailure> = {
    ENOTFOUND: 'dns',
    EAI_AGAIN: 'dns',
    ECONNREFUSED: 'refused',
    ENETUNREACH: 'unreachable',
    ETIMEDOUT: 'timeout',
    ECONNRESET: 'closed',
    EPROTO: 'tls',
    SELF_SIGNED_CERT_IN_CHAIN: 'tls',
    ERR_TLS_CERT_ALTNAME_INVALID: 'tls',
    ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'tls',
    ERR_PROXY_TUNNEL: 'proxy',
    EWHATEVER: 'other',
  };
  for (const [code, failure] of Object.entries(cases)) {
    const explained = explainNetworkError(coded(code), 'https://host:1');
    assert.equal(explained.failure, failure, code);
    assert.match(explained.message, /^https:\/\/host:1 cannot be reached: /);
    assert.ok(explained.message.includes(code));
    assert.doesNotMatch(explained.message, /secret/, "the error's own text is not repeated");
  }
});

test('errors without a code are understood as far as they can be', () => {
  assert.equal(explainNetworkError(new Error('Opening handshake has timed out'), 'x').failure, 'timeout');
  assert.equal(explainNetworkError(new DOMException('late', 'TimeoutError'), 'x').failure, 'timeout');
  const attempts = new AggregateError([coded('ECONNREFUSED'), coded('ENETUNREACH')], 'all failed');
  assert.equal(explainNetworkError(attempts, 'x').failure, 'refused');
  assert.equal(explainNetworkError('nonsense', 'x').failure, 'other');
});
