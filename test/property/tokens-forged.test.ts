/** Whatever is made of valid tokens, with right checksums too, nothing gets in but the id and the secret that were issued. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatToken, parseToken, type TokenParts, type TokenPrefix } from '../../certs/enrollment-token.ts';
import { ApiTokens } from '../../server/access/api-tokens.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { changedBytes } from '../support/mutations.ts';
import { ADMIN, aRequest, openEnrollment } from '../unit/server/enrollment/fixture.ts';

const bit = fc.record({ at: fc.nat({ max: 31 }), bit: fc.nat({ max: 7 }) });

/** Tokens with right checksums, made of the parts of two that were issued: never the id of one with its own secret. */
function crossed(issued: readonly TokenParts[], prefix: TokenPrefix): fc.Arbitrary<string> {
  const part = fc.constantFrom(...issued);
  return fc
    .record({
      id: part,
      secret: part,
      pin: part,
      flip: fc.option(bit),
      id2: fc.option(fc.stringMatching(/^[0-9a-f]{1,20}$/)),
    })
    .map(({ id, secret, pin, flip, id2 }) => {
      const bytes = Buffer.from(secret.secret);
      if (flip !== null) bytes[flip.at] = (bytes[flip.at] ?? 0) ^ (1 << flip.bit);
      return { pin: pin.pin, id: id2 ?? id.id, secret: bytes };
    })
    .filter((made) => !issued.some(({ id, secret }) => id === made.id && secret.equals(made.secret)))
    .map((made) => formatToken(prefix, made));
}

function changedText(tokens: readonly string[]): fc.Arbitrary<string> {
  // White space around a token is not part of it.
  return changedBytes(tokens.map((token) => Buffer.from(token)))
    .map((bytes) => bytes.toString('latin1'))
    .filter((text) => !tokens.includes(text.trim()));
}

test('no forged API token opens the API', async (t) => {
  const { store, clock, audit } = await openEnrollment(t);
  const log = { error: () => undefined, warn: () => undefined };
  const tokens = new ApiTokens({ store, audit, clock, log, caFingerprint: `sha256:${'ab'.repeat(32)}` });
  const made = [
    await tokens.create({ name: 'one', role: 'viewer' }, ADMIN),
    await tokens.create({ name: 'two', role: 'admin' }, ADMIN),
  ];
  const texts = made.map(({ token }) => token);
  const parts = texts.map((text) => parseToken('fla1', text));
  const forged = fc.oneof(changedText(texts), crossed(parts, 'fla1'));
  await fc.assert(
    fc.asyncProperty(forged, async (text) => {
      await assert.rejects(tokens.authenticate(text), (error) => isFairleadError(error, 'UNAUTHORIZED'), text);
    }),
    { numRuns: 1_000 },
  );
  for (const text of texts) assert.ok(await tokens.authenticate(text), 'the real ones still open it');
});

test('no forged enrollment token gets a certificate, and none is used up', async (t) => {
  const { enrollment, signed } = await openEnrollment(t);
  const made = [await enrollment.createToken({}, ADMIN), await enrollment.createToken({}, ADMIN)];
  const texts = made.map(({ token }) => token);
  const parts = texts.map((text) => parseToken('fle1', text));
  const forged = fc.oneof(changedText(texts), crossed(parts, 'fle1'), crossed(parts, 'fla1'));
  const request = await aRequest('');
  await fc.assert(
    fc.asyncProperty(forged, async (token) => {
      const redeemed = enrollment.redeem({ ...request, token }, '198.51.100.7');
      await assert.rejects(redeemed, (error) => isFairleadError(error, 'TOKEN_INVALID'), token);
    }),
    { numRuns: 500 },
  );
  assert.equal(signed(), 0);
  for (const token of texts) await enrollment.redeem(await aRequest(token), '198.51.100.7');
  assert.equal(signed(), 2, 'the real ones still enroll');
});
