// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are forms of Compose
/** Variables in values of a Compose file, where they are put in without Compose: rightly, or not at all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imagesOf } from '../../../../shared/compose/images.ts';
import { interpolate } from '../../../../shared/compose/interpolate.ts';

const ENV = { TAG: '1.2', EMPTY: '', DOLLAR: '$TAG' };

test('the forms that every Compose reads alike are put in, and nothing is put in twice', () => {
  const cases: [text: string, value: string][] = [
    ['plain', 'plain'],
    ['a:$TAG', 'a:1.2'],
    ['a:${TAG}-x', 'a:1.2-x'],
    ['a:${TAG:-latest}', 'a:1.2'],
    ['a:${OTHER:-latest}', 'a:latest'],
    ['a:${EMPTY:-latest}', 'a:latest'],
    ['a:${EMPTY-latest}', 'a:'],
    ['a:${OTHER-}', 'a:'],
    ['$$TAG', '$TAG'],
    ['${DOLLAR}', '$TAG'],
  ];
  for (const [text, value] of cases) assert.equal(interpolate(text, ENV), value, text);
});

test('what is missing, or is read in other ways, is not guessed', () => {
  for (const text of [
    '$OTHER',
    '${OTHER}',
    '${OTHER:?why}',
    '${TAG:+x}',
    '${OTHER:-${TAG}}',
    '${',
    '$',
    '$1',
    '${toString}',
  ]) {
    assert.equal(interpolate(text, ENV), undefined, text);
  }
});

test('the images of a file are found once each, and it is said whether those are all', () => {
  const file = (images: readonly string[]) =>
    `services:\n${images.map((image, n) => `  s${n}:\n    image: "${image}"\n`).join('')}`;
  const a = { reference: 'a:1.2', platform: undefined };
  assert.deepEqual(imagesOf(file(['a:$TAG', 'a:1.2']), ENV), { images: [a], isAll: true });
  assert.deepEqual(imagesOf(file(['a:$TAG', 'b:${OTHER}']), ENV), { images: [a], isAll: false });
  const platform = 'services:\n  s:\n    image: a:1.2\n    platform: linux/arm64\n';
  assert.deepEqual(imagesOf(platform, {}), { images: [{ reference: 'a:1.2', platform: 'linux/arm64' }], isAll: true });
  assert.deepEqual(imagesOf('services:\n  s:\n', {}), { images: [], isAll: false });
});
