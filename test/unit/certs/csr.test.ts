import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  bitString,
  encode,
  explicit,
  integer,
  nothing,
  OID,
  octetString,
  oid,
  sequence,
  set,
} from '../../../certs/asn1.ts';
import { createCsr, readCsr } from '../../../certs/csr.ts';
import { encodePem } from '../../../certs/pem.ts';
import { pinOfSpki, spkiOf } from '../../../certs/pin.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { MAX_CSR_BYTES } from '../../../shared/limits.ts';
import { cpuMs } from '../../support/cpu-time.ts';
import { tempDir } from '../../support/tmp.ts';
import { csrDer, csrPem, ECDSA_SHA256, ecSpki, openssl, p256, RSA_SHA256, rsa, rsaSpki } from './fixtures.ts';

const ec = p256();
const rsa2048 = rsa();
const good = csrDer(ec);

async function refuses(pem: string | Buffer, why: RegExp): Promise<void> {
  await assert.rejects(readCsr(typeof pem === 'string' ? pem : csrPem(pem)), (error) => {
    assert.ok(isFairleadError(error, 'CSR_INVALID'), String(error));
    assert.match(error.message, why);
    return true;
  });
}

/** An odd number of this many bits, which is no product of two primes that anyone knows. */
function modulus(bits: number): Buffer {
  const bytes = randomBytes(bits / 8);
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 1;
  return bytes;
}

test('a request made here is read back: its key, its pin, its type', async () => {
  for (const [pair, keyType] of [
    [ec, 'ec-p256'],
    [rsa2048, 'rsa'],
    [rsa(4096), 'rsa'],
  ] as const) {
    const spki = spkiOf(pair.publicKey);
    assert.deepEqual(await readCsr(await createCsr(pair.privateKey)), { spki, spkiPin: pinOfSpki(spki), keyType });
  }
});

test('openssl accepts the requests made here', async (t) => {
  const dir = await tempDir(t, 'csr');
  for (const [name, { privateKey }] of Object.entries({ ec, rsa2048 })) {
    const file = join(dir, `${name}.csr`);
    await writeFile(file, await createCsr(privateKey));
    const { code, text } = await openssl('req', '-in', file, '-noout', '-verify');
    assert.equal(code, 0, text);
  }
});

test('the requests that openssl makes are accepted, whatever they ask for', async (t) => {
  const dir = await tempDir(t, 'csr');
  const file = join(dir, 'csr.pem');
  const asks = [
    '-subj',
    '/CN=someone/O=else',
    '-addext',
    'basicConstraints=critical,CA:TRUE',
    '-addext',
    'subjectAltName=DNS:x',
  ];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  for (const digest of ['-sha256', '-sha384', '-sha512']) {
    for (const key of [curve, ['-newkey', 'rsa:2048']]) {
      const { code, text } = await openssl(
        'req',
        '-new',
        ...key,
        '-nodes',
        '-keyout',
        join(dir, 'k'),
        ...asks,
        digest,
        '-out',
        file,
      );
      assert.equal(code, 0, text);
      const { keyType } = await readCsr(await readFile(file, 'utf8'));
      assert.equal(keyType, key === curve ? 'ec-p256' : 'rsa');
    }
  }
});

test('a key of another type cannot be requested for', async () => {
  const { privateKey } = generateKeyPairSync('ed25519');
  await assert.rejects(createCsr(privateKey), (error) => isFairleadError(error, 'VALIDATION'));
});

test('too large a request is refused before it is looked at', async () => {
  await refuses('x'.repeat(MAX_CSR_BYTES + 1), /too large: it may have at most 16384 bytes/);
  await refuses('é'.repeat(MAX_CSR_BYTES / 2 + 1), /too large/);
  const padding = sequence(oid('1.2.3'), set(octetString(Buffer.alloc(MAX_CSR_BYTES))));
  await refuses(csrDer(ec, { attributes: [padding] }), /too large/);
});

test('what is not one PEM block of a request is refused', async () => {
  const pem = csrPem(good);
  const others = ['', 'x', pem + pem, `x\n${pem}`, encodePem('CERTIFICATE', good), pem.replace('-----END', '-----')];
  for (const other of others) await refuses(other, /malformed: it is not one PEM block "CERTIFICATE REQUEST"/);
});

test('what is not DER is refused', async () => {
  await refuses(good.subarray(0, -1), /malformed: it is truncated/);
  await refuses(Buffer.concat([good, Buffer.of(0)]), /malformed: it has bytes behind its end/);
  const indefinite = Buffer.concat([Buffer.of(0x30, 0x80), good.subarray(3), Buffer.of(0, 0)]);
  await refuses(indefinite, /malformed: it has an element of indefinite length/);
  assert.equal(good[1], 0x81, 'the request has a length of one byte more');
  const padded = Buffer.concat([Buffer.of(0x30, 0x82, 0), good.subarray(2)]);
  await refuses(padded, /malformed: it has a length that is not minimal/);
  await refuses(Buffer.from('30'.repeat(8000), 'hex'), /malformed/);
});

test('deep nesting within what is ignored is refused', async () => {
  let deep = sequence();
  for (let level = 0; level < 100; level++) deep = sequence(deep);
  await refuses(csrDer(ec, { attributes: [deep] }), /malformed: it is nested too deeply/);
});

test('what is DER but no request is refused', async () => {
  await refuses(encode(sequence()), /malformed: a part of it is missing/);
  await refuses(encode(integer(Buffer.of(1))), /malformed: a part of it is of the wrong type/);
  await refuses(csrDer(ec, { version: 1 }), /malformed: it is not a request of version 1/);
  await refuses(csrDer(ec, { attributes: 'absent' }), /malformed: a part of it is missing/);
  await refuses(csrDer(ec, { subject: nothing() }), /malformed: a part of it is of the wrong type/);
  await refuses(csrDer(ec, { algorithm: sequence() }), /malformed: a part of it is missing/);
});

test('a signature that is not by the key in the request is refused', async () => {
  await refuses(csrDer({ ...ec, privateKey: p256().privateKey }), /badly signed: the signature is not by the key/);
  await refuses(csrDer({ ...rsa2048, privateKey: rsa().privateKey }), /badly signed: the signature is not by the key/);
  await refuses(csrDer(ec, { signature: Buffer.alloc(0) }), /badly signed/);
  await refuses(csrDer(ec, { signature: randomBytes(64) }), /badly signed/);
  await refuses(csrDer(ec, { digest: 'sha512' }), /badly signed/);
  await refuses(csrDer(rsa2048, { signature: Buffer.alloc(256) }), /badly signed/);
});

test('a signature by an algorithm that is not accepted is refused', async () => {
  const weak = ['1.2.840.113549.1.1.5', '1.2.840.113549.1.1.4', '1.2.840.113549.1.1.10'];
  await refuses(
    csrDer(rsa2048, { digest: 'sha1', algorithm: sequence(oid(weak[0] ?? ''), nothing()) }),
    /not accepted; use SHA-256/,
  );
  await refuses(
    csrDer(rsa2048, { digest: 'md5', algorithm: sequence(oid(weak[1] ?? ''), nothing()) }),
    /not accepted; use SHA-256/,
  );
  await refuses(csrDer(rsa2048, { algorithm: sequence(oid(weak[2] ?? ''), sequence()) }), /not accepted; use SHA-256/);
  await refuses(
    csrDer(ec, { digest: 'sha1', algorithm: sequence(oid('1.2.840.10045.4.1')) }),
    /not accepted; use SHA-256/,
  );
});

test('an algorithm that does not fit the key, or is not written as it should be, is refused', async () => {
  await refuses(csrDer(ec, { algorithm: RSA_SHA256() }), /badly signed: its algorithm does not fit its key/);
  await refuses(csrDer(rsa2048, { algorithm: ECDSA_SHA256() }), /badly signed: its algorithm does not fit its key/);
  await refuses(csrDer(rsa2048, { algorithm: sequence(oid(OID.sha256WithRsa)) }), /badly signed/);
  await refuses(csrDer(ec, { algorithm: sequence(oid(OID.ecdsaWithSha256), nothing()) }), /badly signed/);
});

test('RSA keys that are too weak, too large or odd in other ways are refused', async () => {
  await refuses(csrDer(rsa(1024)), /too weak: it needs at least 2048 bits/);
  await refuses(csrDer(rsa(2040)), /too weak/);
  await refuses(csrDer(rsa(2048, 3)), /an exponent that is not accepted; use 65537/);
  const rsaWith = (spki: Buffer) => csrDer(rsa2048, { spki });
  await refuses(rsaWith(rsaSpki(modulus(4104))), /too large: it may have at most 4096 bits/);
  const even = modulus(2048);
  even[255] = 0x10;
  await refuses(rsaWith(rsaSpki(even)), /its modulus is even/);
  await refuses(rsaWith(rsaSpki(modulus(2048), modulus(2048))), /an exponent that is not accepted/);
  await refuses(rsaWith(rsaSpki(modulus(2048), Buffer.of(0))), /an exponent that is not accepted/);
});

test('a hostile RSA key of 8192 bits costs nothing', async () => {
  const pem = csrPem(csrDer(rsa2048, { spki: rsaSpki(modulus(8192)), signature: randomBytes(1024) }));
  const spentMs = await cpuMs(async () => {
    for (let count = 0; count < 200; count++) await refuses(pem, /too large/);
  });
  assert.ok(spentMs < 1_000, `200 refusals took ${spentMs} ms of CPU`);
});

test('a negative modulus has no bits', async () => {
  const negative = Buffer.concat([Buffer.of(0x02, 0x82, 1, 0), Buffer.alloc(256, 0x81)]);
  const key = Buffer.concat([negative, encode(integer(Buffer.of(1, 0, 1)))]);
  const wrapped = Buffer.concat([Buffer.of(0x30, 0x82, key.length >> 8, key.length & 255), key]);
  const spki = encode(sequence(sequence(oid(OID.rsaEncryption), nothing()), bitString(wrapped)));
  await refuses(csrDer(rsa2048, { spki }), /too weak/);
});

test('keys of other types and curves are refused', async () => {
  await refuses(csrDer(generateKeyPairSync('ec', { namedCurve: 'P-384' })), /a curve that is not accepted; use P-256/);
  await refuses(csrDer(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })), /a curve that is not accepted/);
  const ed25519 = spkiOf(generateKeyPairSync('ed25519').publicKey);
  await refuses(csrDer(ec, { spki: ed25519 }), /a type that is not accepted; use ECDSA P-256 or RSA/);
});

test('points that are not on the curve, or not written out, are refused', async () => {
  const point = Buffer.from(spkiOf(ec.publicKey).subarray(-65));
  const off = Buffer.from(point);
  off[64] = (off[64] ?? 0) ^ 1;
  await refuses(csrDer(ec, { spki: ecSpki(off) }), /not a valid one of its type|badly signed/);
  assert.throws(() => createPublicKey({ key: ecSpki(off), format: 'der', type: 'spki' }));
  const compressed = Buffer.concat([Buffer.of(2 + ((point[64] ?? 0) & 1)), point.subarray(1, 33)]);
  await refuses(csrDer(ec, { spki: ecSpki(compressed) }), /not an uncompressed point of P-256/);
  await refuses(csrDer(ec, { spki: ecSpki(Buffer.of(0)) }), /not an uncompressed point of P-256/);
  await refuses(csrDer(ec, { spki: ecSpki(point, sequence(integer(Buffer.of(1)))) }), /a curve that is not accepted/);
});

test('excess parts of a key are refused', async () => {
  const algorithm = sequence(oid(OID.ecPublicKey), oid(OID.prime256v1));
  const bits = bitString(spkiOf(ec.publicKey).subarray(-65));
  await refuses(
    csrDer(ec, { spki: encode(sequence(algorithm, bits, nothing())) }),
    /the key is malformed: it has a part too few or too many/,
  );
  const wide = sequence(oid(OID.ecPublicKey), oid(OID.prime256v1), nothing());
  await refuses(csrDer(ec, { spki: encode(sequence(wide, bits)) }), /the key is malformed/);
});

test('every single changed byte is refused', async () => {
  const der = csrDer(ec, { attributes: [sequence(oid('1.2.3'), set(explicit(0, nothing())))] });
  await readCsr(csrPem(der));
  for (let index = 0; index < der.length; index++) {
    const changed = Buffer.from(der);
    changed[index] = (changed[index] ?? 0) ^ 0x01;
    await refuses(changed, /./);
  }
});
