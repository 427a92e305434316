/** What counts as one address: each network in one form, however it was written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkOf } from '../../../shared/network.ts';

test('a network of IPv6 is one address', () => {
  assert.equal(networkOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2');
  assert.equal(networkOf('2001:db8:1:2::6'), '2001:db8:1:2');
  assert.notEqual(networkOf('2001:db8:1:2::1'), networkOf('2001:db8:1:3::1'));
  assert.equal(networkOf('2001:db8::6'), '2001:db8:0:0');
  assert.equal(networkOf('::1'), '0:0:0:0');
  assert.equal(networkOf('fe80::1%eth0'), 'fe80:0:0:0');
});

test('another way to write it makes no other network', () => {
  assert.equal(networkOf('2001:0DB8:0001:0002::1'), '2001:db8:1:2');
  assert.equal(networkOf('2001:db8:0:0:0:0:0:6'), networkOf('2001:db8::7'));
  assert.equal(networkOf('::ffff:192.0.2.1'), '192.0.2.1');
  assert.equal(networkOf('::FFFF:192.0.2.1'), '192.0.2.1');
});

test('an address of IPv4 is one, and of a connection that is gone there is none', () => {
  assert.equal(networkOf('192.0.2.1'), '192.0.2.1');
  assert.equal(networkOf(undefined), undefined);
});
