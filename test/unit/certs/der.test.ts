import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bitStringOf, children, contentOf, oidOf, readDer, TAG } from '../../../certs/der.ts';
import { isFairleadError } from '../../../shared/errors.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

function refuses(bytes: Buffer | string, why: RegExp): void {
  const der = typeof bytes === 'string' ? hex(bytes) : bytes;
  assert.throws(
    () => readDer(der),
    (error) => isFairleadError(error, 'VALIDATION') && why.test(error.message),
  );
}

test('elements are read with their tags, contents and bytes', () => {
  const root = readDer(hex('30 06 02 01 05 01 01 ff'));
  assert.equal(root.tag, TAG.sequence);
  const [integer, boolean, ...none] = children(root, TAG.sequence);
  assert.deepEqual(contentOf(integer, TAG.integer), hex('05'));
  assert.deepEqual(boolean?.raw, hex('01 01 ff'));
  assert.deepEqual(none, []);
});

test('lengths are read up to the largest form that fits', () => {
  for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536]) {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(length);
    const digits = size.subarray(length === 0 ? 3 : size.findIndex((octet) => octet !== 0));
    const head = length < 128 ? Buffer.of(4, length) : Buffer.concat([Buffer.of(4, 0x80 | digits.length), digits]);
    assert.equal(readDer(Buffer.concat([head, Buffer.alloc(length)])).content.length, length);
  }
});

test('lengths that are indefinite, absurd or not minimal are refused', () => {
  refuses('30 80 00 00', /indefinite/);
  refuses('04 81 01 00', /not minimal/);
  refuses('04 81 7f', /not minimal/);
  refuses('04 82 00 ff', /not minimal/);
  refuses('04 84 00 ff ff ff', /not minimal/);
  refuses('04 85 01 00 00 00 00', /absurd/);
  refuses('04 ff', /absurd/);
  refuses('04 84 ff ff ff ff', /truncated/);
});

test('missing and excess bytes are refused at every level', () => {
  refuses('', /truncated/);
  refuses('30', /truncated/);
  refuses('30 03 02 01', /truncated/);
  refuses('30 82 01', /truncated/);
  refuses('30 02 02 01', /truncated/);
  refuses('30 00 00', /behind its end/);
  refuses('02 01 05 02 01 05', /behind its end/);
});

test('forms that DER does not have are refused', () => {
  refuses('00 00', /type 0/);
  refuses('1f 1f 00', /more than one byte/);
  refuses('10 00', /wrong form/);
  refuses('11 00', /wrong form/);
  refuses('24 04 04 02 00 00', /wrong form/);
  refuses('01 01 01', /boolean/);
  refuses('01 00', /boolean/);
  refuses('02 00', /integer/);
  refuses('02 02 00 7f', /integer/);
  refuses('02 02 ff 80', /integer/);
  refuses('03 00', /bit string/);
  refuses('03 01 01', /bit string/);
  refuses('03 02 08 00', /bit string/);
  refuses('03 02 01 01', /bit string/);
  refuses('05 01 00', /NULL/);
  refuses('06 00', /object identifier/);
  refuses('06 02 80 01', /object identifier/);
  refuses('06 01 81', /object identifier/);
  refuses('30 04 30 02 02 00', /integer/);
});

test('nesting beyond 16 is refused, at whatever depth it ends, without recursion', () => {
  const nested = (depth: number): Buffer => {
    let bytes = Buffer.alloc(0);
    for (let level = 0; level < depth; level++) {
      const size = bytes.length;
      const head = size < 128 ? [0x30, size] : size < 256 ? [0x30, 0x81, size] : [0x30, 0x82, size >> 8, size & 255];
      bytes = Buffer.concat([Buffer.from(head), bytes]);
    }
    return bytes;
  };
  assert.equal(readDer(nested(16)).tag, TAG.sequence);
  refuses(nested(17), /nested too deeply/);
  refuses(nested(4000), /nested too deeply/);
});

test('object identifiers are read in their dotted form', () => {
  assert.equal(oidOf(readDer(hex('06 08 2a 86 48 ce 3d 03 01 07'))), '1.2.840.10045.3.1.7');
  assert.equal(oidOf(readDer(hex('06 03 55 04 03'))), '2.5.4.3');
  assert.equal(oidOf(readDer(hex('06 03 88 37 03'))), '2.999.3');
  assert.equal(oidOf(readDer(hex('06 01 00'))), '0.0');
  const long = readDer(Buffer.concat([hex('06 21'), Buffer.alloc(33, 1)]));
  assert.throws(
    () => oidOf(long),
    (error) => isFairleadError(error, 'VALIDATION'),
  );
});

test('a part that is missing or of another type is refused', () => {
  const root = readDer(hex('30 00'));
  const refused = (error: unknown) => isFairleadError(error, 'VALIDATION');
  assert.throws(() => contentOf(children(root, TAG.sequence)[0], TAG.integer), refused);
  assert.throws(() => contentOf(root, TAG.set), refused);
  assert.throws(() => bitStringOf(readDer(hex('03 02 01 00'))), refused);
});
