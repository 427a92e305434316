/** Readers of the short texts that a stranger sends along: headers, cookies and durations. */
import assert from 'node:assert/strict';
import { MAX_PROXY_HEADER_BYTES } from '../../server/doors/limits.ts';
import { readProxyHeader } from '../../server/doors/proxy-header.ts';
import { SESSION_COOKIE, sessionSecret } from '../../server/routes/session-cookie.ts';
import { parseDuration } from '../../shared/duration.ts';
import { attack, type HostileReader, refuse } from '../support/hostile-reader.ts';
import { proxyHeader, rawProxyHeader } from '../support/proxy-header.ts';

const proxy: HostileReader<{ bytes: number; source?: { address: string; port: number } | undefined }> = {
  name: 'PROXY header',
  seeds: [
    proxyHeader('192.0.2.7', 4711),
    proxyHeader('2001:db8::7', 4711, Buffer.from('0400020102', 'hex')),
    rawProxyHeader(0x20, 0),
    rawProxyHeader(0x21, 0x31, Buffer.alloc(216)),
  ],
  read: (bytes) => {
    const header = readProxyHeader(bytes);
    return header.state === 'complete' ? header : refuse(header.state);
  },
  codes: ['VALIDATION'],
  judge: ({ bytes: length, source }, bytes) => {
    assert.equal(bytes.subarray(0, 12).toString('hex'), '0d0a0d0a000d0a515549540a');
    assert.ok(length === 16 + bytes.readUInt16BE(14) && length <= bytes.length && length <= MAX_PROXY_HEADER_BYTES);
    const [command, family] = [bytes[12], bytes[13]];
    assert.ok(command === 0x20 || command === 0x21);
    const size = { 17: 4, 33: 16 }[command === 0x20 ? 0 : (family ?? 0)];
    if (size === undefined) return assert.equal(source, undefined, 'nobody is made up');
    assert.equal(source?.port, bytes.readUInt16BE(16 + 2 * size));
    const four = [...bytes.subarray(16, 20)].join('.');
    if (size === 4) assert.equal(source?.address, four);
    else assert.match(source?.address ?? '', /^[0-9a-f:.]+$/);
  },
  runs: 5_000,
};

const cookie: HostileReader<string> = {
  name: 'session cookie',
  seeds: [`${SESSION_COOKIE}=secret-1`, `theme=dark; ${SESSION_COOKIE}=secret-1; lang=en`].map((text) =>
    Buffer.from(text),
  ),
  read: (bytes) => sessionSecret({ headers: { cookie: bytes.toString('latin1') } }) || refuse('none, or many'),
  codes: ['VALIDATION'],
  judge: (secret, bytes) => {
    const values = [...bytes.toString('latin1').matchAll(/(?<=^|;)\s*__Host-fairlead=([^;]*)/g)].map(([, one]) => one);
    assert.deepEqual(
      values.map((value) => value?.trimEnd()),
      [secret],
      'another cookie slips in',
    );
  },
  runs: 3_000,
};

const duration: HostileReader<number> = {
  name: 'duration',
  seeds: ['0', '90s', '30m', '12h', '7d', '9999999d'].map((text) => Buffer.from(text)),
  read: (bytes) => parseDuration(bytes.toString('latin1')) ?? refuse('no duration'),
  codes: ['VALIDATION'],
  judge: (ms, bytes) => {
    assert.ok(Number.isSafeInteger(ms) && ms >= 0);
    const text = bytes.toString('latin1');
    const digits = [...text.slice(0, -1)];
    const unit = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[text.at(-1) ?? ''];
    if (text === '0') return assert.equal(ms, 0);
    assert.ok(unit !== undefined && digits.length > 0 && digits.every((digit) => digit >= '0' && digit <= '9'));
    assert.equal(ms, Number(digits.join('')) * unit);
  },
  runs: 3_000,
};

attack(proxy, { takes: true });
attack(cookie, { takes: true });
attack(duration, { takes: true });
