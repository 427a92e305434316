/** Readers of what comes before and over the wire of an agent, under bytes that were right before they were changed. */
import assert from 'node:assert/strict';
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { bitString, OID, octetString, oid, sequence, set, utf8String } from '../../certs/asn1.ts';
import { type CertificateRequest, readCsr } from '../../certs/csr.ts';
import { readDer } from '../../certs/der.ts';
import { formatToken, parseToken, type TokenParts, type TokenPrefix } from '../../certs/enrollment-token.ts';
import { MAX_MESSAGE_DEPTH, MAX_MESSAGE_NODES } from '../../shared/limits.ts';
import { decodeValue } from '../../shared/mux/values.ts';
import { changedTrees, type DerTree, derTree, writeDer } from '../support/der-tree.ts';
import { attack, type HostileReader } from '../support/hostile-reader.ts';
import { changedBytes } from '../support/mutations.ts';
import { HELLO } from '../support/mux.ts';
import { csrDer, csrPem, p256, rsa } from '../unit/certs/fixtures.ts';

const KEYS = [p256(), rsa(), p256()];
const name = sequence(set(sequence(oid(OID.commonName), utf8String('someone'))));
const REQUESTS = KEYS.flatMap((keys) => [
  csrDer(keys),
  csrDer(keys, { subject: name, attributes: [sequence(oid(OID.commonName), set(octetString(Buffer.alloc(40))))] }),
]);

/** The parts of a request that was taken, found by a reader of the test's own. */
function partsOf(request: Buffer): { info: Buffer; spki: Buffer; signature: Buffer; isDer: boolean } {
  const root = derTree(request);
  assert.ok('parts' in root && root.parts.length === 3);
  const [info, , signature] = root.parts as [DerTree, DerTree, DerTree];
  assert.ok('parts' in info && 'bytes' in signature);
  const spki = info.parts[2];
  assert.ok(spki !== undefined);
  return {
    info: writeDer(info),
    spki: writeDer(spki),
    signature: signature.bytes.subarray(1),
    isDer: writeDer(root).equals(request),
  };
}

function isAcceptable(key: KeyObject): boolean {
  const { namedCurve, modulusLength = 0, publicExponent } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec') return namedCurve === 'prime256v1';
  if (key.asymmetricKeyType !== 'rsa') return false;
  return modulusLength >= 2048 && modulusLength <= 4096 && publicExponent === 65537n;
}

/** A request that is taken is DER, holds an acceptable key, and was signed by that key as it stands. */
function judgeRequest(value: CertificateRequest, request: Buffer): void {
  const { info, spki, signature, isDer } = partsOf(request);
  assert.ok(isDer, 'what is taken is DER');
  assert.deepEqual(value.spki, spki);
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  assert.ok(isAcceptable(key));
  assert.ok(
    ['sha256', 'sha384', 'sha512'].some((digest) => verify(digest, info, key, signature)),
    'what is taken is signed by its own key',
  );
}

/** Requests whose structure was changed, as they stand or signed again by a key that the attacker holds. */
const restructured = fc
  .tuple(changedTrees(REQUESTS.map(derTree)), fc.boolean(), fc.constantFrom('sha256', 'sha1', 'md5', 'sha512'))
  .map(([{ which, tree }, isSigned, digest]) => {
    const [info] = 'parts' in tree ? tree.parts : [];
    if (!isSigned || !('parts' in tree) || info === undefined || tree.parts.length !== 3) return writeDer(tree);
    const key = KEYS[Math.floor(which / 2)]?.privateKey;
    assert.ok(key !== undefined);
    const signature = Buffer.concat([Buffer.of(0), sign(digest, writeDer(info), key)]);
    return writeDer({ ...tree, parts: [...tree.parts.slice(0, 2), { tag: 0x03, bytes: signature }] });
  })
  .filter((bytes) => !REQUESTS.some((request) => request.equals(bytes)));

const csr: HostileReader<CertificateRequest> = {
  name: 'certificate request',
  seeds: REQUESTS,
  read: (bytes) => readCsr(csrPem(bytes)),
  codes: ['CSR_INVALID'],
  judge: judgeRequest,
  structured: restructured,
  runs: 3_000,
};

const der: HostileReader = {
  name: 'DER',
  seeds: REQUESTS,
  read: readDer,
  codes: ['VALIDATION'],
  judge: (_, bytes) => assert.ok(derTree(bytes), 'what is taken is one element'),
  structured: changedTrees(REQUESTS.map(derTree)).map(({ tree }) => writeDer(tree)),
};

const TOKENS: TokenParts[] = ['a', 'token-2', 'x'.repeat(64)].map((id, index) => ({
  pin: `sha256:${'0123456789abcdef'.repeat(4)}`,
  id,
  secret: Buffer.alloc(32, index + 1),
}));

function token(prefix: TokenPrefix): HostileReader<TokenParts> {
  const seeds = TOKENS.map((parts) => Buffer.from(formatToken(prefix, parts)));
  return {
    name: `token ${prefix}`,
    seeds,
    read: (bytes) => parseToken(prefix, bytes.toString('latin1')),
    codes: ['TOKEN_INVALID'],
    // What is taken has one spelling, so that no change of characters can have gone unnoticed.
    judge: (parts, bytes) => assert.equal(formatToken(prefix, parts), bytes.toString('latin1').trim()),
    // White space around a token is not part of it.
    isHarmless: (bytes) => seeds.some((seed) => seed.equals(Buffer.from(bytes.toString('latin1').trim()))),
    structured: changedBytes(seeds.map((seed) => Buffer.from(seed.toString().slice(5), 'base64url'))).map((bytes) =>
      Buffer.from(`${prefix}.${bytes.toString('base64url')}`),
    ),
    runs: 2_000,
  };
}

const LIMITS = { depth: MAX_MESSAGE_DEPTH, nodes: MAX_MESSAGE_NODES };
const VALUES = [
  HELLO,
  { id: 'web', cmd: ['sh', '-c', 'true'], env: ['A=b'], tty: true, size: { cols: 80, rows: 24 } },
  { Id: 'x'.repeat(64), Labels: { a: 'b', c: 'd' }, Ports: [{ PrivatePort: 80, Type: 'tcp' }], Created: 1_700_000_000 },
  [[[[[[1, -1, 2 ** 40, 1.5, null, true, 'text']]]]]],
].map((value) => Buffer.from(encode(value)));

function judgeValue(value: unknown, depth = 0): void {
  assert.ok(depth <= MAX_MESSAGE_DEPTH, 'what is taken is not nested too deeply');
  assert.ok(!(value instanceof Uint8Array), 'bytes have a frame of their own');
  if (typeof value !== 'object' || value === null) return;
  const prototype: unknown = Object.getPrototypeOf(value);
  assert.ok(prototype === Object.prototype || prototype === Array.prototype, 'nothing acts on a prototype');
  assert.ok(!Object.hasOwn(value, '__proto__'));
  for (const inner of Object.values(value)) judgeValue(inner, depth + 1);
}

const message: HostileReader = {
  name: 'message',
  seeds: VALUES,
  read: (bytes) => decodeValue(bytes, LIMITS, 'a message'),
  codes: ['MESSAGE_INVALID'],
  judge: (value) => judgeValue(value),
  runs: 5_000,
};

attack(csr, { takes: true });
attack(der, { takes: true });
attack(token('fle1'), { takes: false });
attack(token('fla1'), { takes: false });
attack(message, { takes: true });

test('the judgement of requests would find a forgery', () => {
  const [mine, , others] = KEYS;
  assert.ok(mine !== undefined && others !== undefined);
  const stolen = csrDer({ publicKey: others.publicKey, privateKey: mine.privateKey });
  const { spki } = partsOf(stolen);
  assert.throws(() => judgeRequest({ spki, spkiPin: '', keyType: 'ec-p256' }, stolen), /signed by its own key/);
});

test('a request that asks for more, signed by its own key, is taken: the changes that are refused are not all there are', async () => {
  const [keys] = KEYS;
  assert.ok(keys !== undefined);
  const odd = csrDer(keys, { subject: sequence(), attributes: [bitString(Buffer.of(1))] });
  judgeRequest(await readCsr(csrPem(odd)), odd);
});
