/** Journals of revocations that are put together. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { mergeJournals } from '../../../../server/backup/revocations.ts';
import { tempDir } from '../../../support/tmp.ts';

async function merge(t: TestContext, ...texts: string[]): Promise<{ added: number; text: string }> {
  const dir = await tempDir(t, 'journal');
  const files = texts.map((_, index) => join(dir, `${index}.ndjson`));
  for (const [index, file] of files.entries()) await writeFile(file, texts[index] ?? '');
  const own = files[0] ?? '';
  const added = await mergeJournals(own, files);
  return { added, text: await readFile(own, 'utf8') };
}

test('lines of all journals stand once, the first journal first', async (t) => {
  const { added, text } = await merge(t, '{"s":"A"}\n{"s":"B"}\n', '{"s":"B"}\n{"s":"C"}\n', '{"s":"A"}\n{"s":"D"}\n');
  assert.equal(text, '{"s":"A"}\n{"s":"B"}\n{"s":"C"}\n{"s":"D"}\n');
  assert.equal(added, 2);
});

test('a line that a crash cut off is left out, and the next one does not stick to it', async (t) => {
  const { added, text } = await merge(t, '{"s":"A"}\n{"s":"B', '{"s":"C"}\n');
  assert.equal(text, '{"s":"A"}\n{"s":"C"}\n');
  assert.equal(added, 1);
  assert.deepEqual(await merge(t, '', '{"s'), { added: 0, text: '' });
});

test('what ends a line elsewhere ends none here', async (t) => {
  const { added, text } = await merge(t, '{"s":"A"}\n', '{"s":"B\u2028b\u2029"}\n{"s":"C"}\r\n');
  assert.equal(text, '{"s":"A"}\n{"s":"B\u2028b\u2029"}\n{"s":"C"}\n');
  assert.equal(added, 2);
});

test('a file that is no journal is refused and named, and nothing is written', async (t) => {
  for (const text of ['hello\n', '{"s":"A"}\nnonsense\n{"s":"B"}\n', '1\n']) {
    await assert.rejects(merge(t, '{"s":"A"}\n', text), {
      code: 'VALIDATION',
      message: /1\.ndjson is no journal of revocations: line \d of it is no JSON$/,
    });
  }
});
