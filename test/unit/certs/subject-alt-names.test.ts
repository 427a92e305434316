import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostNames } from '../../../certs/subject-alt-names.ts';
import { isFairleadError } from '../../../shared/errors.ts';

const DNS = 2;
const IP = 7;

/** The one name of a host, its bytes as text or hex. */
function nameOf(host: string): [number, string] {
  const [name] = hostNames([host]);
  assert.ok(name);
  return [name.tag, name.tag === DNS ? name.bytes.toString('ascii') : name.bytes.toString('hex')];
}

test('a name is a DNS name in lower case, in ASCII, without a dot at its end', () => {
  assert.deepEqual(nameOf('LocalHost'), [DNS, 'localhost']);
  assert.deepEqual(nameOf('a.example.org.'), [DNS, 'a.example.org']);
  assert.deepEqual(nameOf('docker_host-1'), [DNS, 'docker_host-1']);
  assert.deepEqual(nameOf('exämple.org'), [DNS, 'xn--exmple-cua.org']);
});

test('an address is its bytes', () => {
  assert.deepEqual(nameOf('192.168.0.255'), [IP, 'c0a800ff']);
  assert.deepEqual(nameOf('::'), [IP, '0'.repeat(32)]);
  assert.deepEqual(nameOf('::1'), [IP, `${'0'.repeat(31)}1`]);
  assert.deepEqual(nameOf('[fd00::1:2]'), [IP, 'fd000000000000000000000000010002']);
  assert.deepEqual(nameOf('2001:DB8::'), [IP, `20010db8${'0'.repeat(24)}`]);
  assert.deepEqual(nameOf('1:2:3:4:5:6:7:8'), [IP, '00010002000300040005000600070008']);
  assert.deepEqual(nameOf('::ffff:1.2.3.4'), [IP, `${'0'.repeat(20)}ffff01020304`]);
});

test('each name stands once, in the order given', () => {
  const names = hostNames(['b', '127.0.0.1', 'a', 'B', '127.0.0.1', '::1', '[0:0:0:0:0:0:0:1]']);
  assert.deepEqual(
    names.map((name) => name.bytes.toString('hex')),
    ['62', '7f000001', '61', `${'0'.repeat(31)}1`],
  );
});

test('what is neither a name nor an address is refused and named', () => {
  const hosts = [
    '',
    ' ',
    'a b',
    'a..b',
    '-a',
    'a-',
    '*.example.org',
    '1.2.3',
    '256.1.1.1',
    'fe80::1%eth0',
    'http://a',
    'a:1',
    '[a]',
  ];
  for (const host of [...hosts, 'a'.repeat(64), 'a\0b', 'a,b', `${'a.'.repeat(130)}a`]) {
    assert.throws(
      () => hostNames([host]),
      (error) => isFairleadError(error, 'VALIDATION') && error.message.includes(JSON.stringify(host)),
      host,
    );
  }
});

test('too many hosts are refused', () => {
  assert.throws(
    () => hostNames(new Array(65).fill('a')),
    (error) => isFairleadError(error, 'VALIDATION'),
  );
});
