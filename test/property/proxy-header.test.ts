import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_PROXY_HEADER_BYTES } from '../../server/doors/limits.ts';
import { type ProxyHeader, readProxyHeader } from '../../server/doors/proxy-header.ts';
import type { Source } from '../../server/doors/source.ts';
import { proxyHeader, rawProxyHeader } from '../support/proxy-header.ts';

/** The same bytes one by one; what the header is once that is known. */
function byteByByte(bytes: Uint8Array): ProxyHeader {
  for (let end = 0; end <= bytes.byteLength; end++) {
    const header = readProxyHeader(bytes.subarray(0, end));
    if (header.state !== 'incomplete') return header;
  }
  return { state: 'incomplete' };
}

const port = fc.nat({ max: 0xffff });
const tlvs = fc.uint8Array({ maxLength: 400 });
const after = fc.uint8Array({ maxLength: 200 });

test('the sender of a header is read, at whatever pace it comes, and what follows is left alone', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), port, tlvs, after, (address, from, extra, rest) => {
      // fast-check also writes the IPv4 tail that the helper does not.
      fc.pre(!(address.includes(':') && address.includes('.')));
      const header = proxyHeader(address, from, extra);
      fc.pre(header.byteLength <= MAX_PROXY_HEADER_BYTES);
      const whole = readProxyHeader(Buffer.concat([header, rest]));
      assert.ok(whole.state === 'complete' && whole.source !== undefined);
      assert.equal(whole.bytes, header.byteLength);
      assert.equal(whole.source.port, from);
      assert.equal(canonical(whole.source.address), canonical(address));
      assert.deepEqual(byteByByte(header), whole);
    }),
    { numRuns: 500 },
  );
});

function canonical(address: string): string {
  return address.includes(':') ? new URL(`http://[${address}]`).hostname : address;
}

test('a line of version 1 is read like a header of version 2', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), port, after, (address, from, rest) => {
      fc.pre(!(address.includes(':') && address.includes('.')));
      const [family, own] = address.includes(':') ? ['TCP6', '2001:db8::1'] : ['TCP4', '192.0.2.1'];
      const header = Buffer.from(`PROXY ${family} ${address} ${own} ${from} 8443\r\n`);
      const whole = readProxyHeader(Buffer.concat([header, rest]));
      assert.deepEqual(whole, { state: 'complete', bytes: header.byteLength, source: sourceOf(address, from) });
      assert.deepEqual(byteByByte(header), whole);
    }),
  );
});

function sourceOf(address: string, from: number): Source {
  const read = readProxyHeader(proxyHeader(address, from));
  assert.ok(read.state === 'complete' && read.source !== undefined);
  return read.source;
}

test('lines of version 1: what stands for a sender, what for none, and what is refused', () => {
  const read = (line: string) => readProxyHeader(Buffer.from(line, 'latin1'));
  const none = (line: string) => ({ state: 'complete', bytes: line.length, source: undefined });
  for (const line of ['PROXY UNKNOWN\r\n', 'PROXY UNKNOWN ::1 ::2 1 2\r\n']) assert.deepEqual(read(line), none(line));
  const refused = [
    ...['TCP4 192.0.2.1 192.0.2.2 1\r\n', 'TCP4 192.0.2.1 192.0.2.2 1 2 \r\n', 'TCP4 192.0.2.1 192.0.2.2 01 2\r\n'],
    ...['TCP4 192.0.2.1 192.0.2.2 65536 2\r\n', 'TCP4 192.0.2.01 192.0.2.2 1 2\r\n', 'TCP4 ::1 ::2 1 2\r\n'],
    ...['TCP6 192.0.2.1 192.0.2.2 1 2\r\n', 'TCP6 fe80::1%eth0 ::2 1 2\r\n', 'UDP4 192.0.2.1 192.0.2.2 1 2\r\n'],
    ...['UNKNOWNS\r\n', '\r\n', `UNKNOWN ${'x'.repeat(200)}\r\n`, 'TCP4 192.0.2.1\n192.0.2.2 1 2\r\n'],
  ];
  for (const rest of refused) assert.equal(read(`PROXY ${rest}`).state, 'malformed', rest);
  assert.equal(read('PROXY TCP4 192.0.2.1 192.0.2.2 1 2').state, 'incomplete');
  assert.equal(read('POST / HTTP/1.1\r\n\r\n').state, 'malformed');
});

test('garbage is malformed or incomplete, never more than the limit is waited for, and nothing throws', () => {
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 700 }),
    // Behind a right signature.
    fc
      .tuple(fc.nat({ max: 255 }), fc.nat({ max: 255 }), fc.uint8Array({ maxLength: 700 }))
      .map(([command, family, rest]) => rawProxyHeader(command, family, rest)),
    fc.string({ maxLength: 300 }).map((line) => Buffer.from(`PROXY ${line}\r\n`)),
    fc.tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ maxLength: 700 })).map(([fixed, rest]) => {
      const header = Buffer.concat([rawProxyHeader(0, 0).subarray(0, 12), fixed, rest]);
      return header;
    }),
  );
  fc.assert(
    fc.property(garbage, (bytes) => {
      const whole = readProxyHeader(bytes);
      assert.deepEqual(byteByByte(bytes), whole);
      if (bytes.byteLength >= MAX_PROXY_HEADER_BYTES) assert.notEqual(whole.state, 'incomplete');
      if (whole.state === 'complete') assert.ok(whole.bytes <= MAX_PROXY_HEADER_BYTES);
    }),
    { numRuns: 2000 },
  );
});

test('a byte of the signature that is wrong is found as it comes', () => {
  for (let at = 0; at < 12; at++) {
    for (let byte = 0; byte < 256; byte++) {
      const bytes = proxyHeader('192.0.2.1', 1);
      if (bytes[at] === byte) continue;
      bytes[at] = byte;
      // With a P begins a header of version 1, which this is not either, as the byte after it tells.
      const found = at === 0 && byte === 0x50 ? 2 : at + 1;
      assert.equal(readProxyHeader(bytes.subarray(0, found - 1)).state, 'incomplete');
      assert.equal(readProxyHeader(bytes.subarray(0, found)).state, 'malformed');
    }
  }
});

test('commands and families: what stands for a sender, what for none, and what is refused', () => {
  const block = (bytes: number) => Buffer.alloc(bytes, 1);
  const state = (...header: Parameters<typeof rawProxyHeader>) => readProxyHeader(rawProxyHeader(...header)).state;
  const senderOf = (...header: Parameters<typeof rawProxyHeader>) => {
    const read = readProxyHeader(rawProxyHeader(...header));
    return read.state === 'complete' ? read.source : assert.fail(read.state);
  };
  assert.deepEqual(senderOf(0x21, 0x11, block(12)), { address: '1.1.1.1', port: 0x0101 });
  assert.equal(senderOf(0x20, 0x11, block(12)), undefined, 'LOCAL: the balancer itself');
  assert.equal(senderOf(0x20, 0x99, block(3)), undefined, 'whatever it states');
  assert.equal(senderOf(0x21, 0x00), undefined, 'UNSPEC');
  assert.equal(senderOf(0x21, 0x31, block(216)), undefined, 'UNIX');
  assert.equal(state(0x21, 0x11, block(11)), 'malformed', 'shorter than its addresses');
  assert.equal(state(0x21, 0x12, block(12)), 'malformed', 'UDP');
  assert.equal(state(0x22, 0x11, block(12)), 'malformed', 'an unknown command');
  assert.equal(state(0x11, 0x11, block(12)), 'malformed', 'an unknown version');
  assert.equal(state(0x21, 0x11, block(521)), 'malformed', 'too large');
});
