/** What CHANGELOG.md says of versions: this one has a section with something in it, and the newest stands first. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import manifest from '../../../package.json' with { type: 'json' };

const HEADING = /^## (\d+\.\d+\.\d+)(?: \((?:unreleased|\d{4}-\d{2}-\d{2})\))?$/;

interface Section {
  version: string;
  entries: number;
}

async function sections(): Promise<Section[]> {
  const text = await readFile(new URL('../../../CHANGELOG.md', import.meta.url), 'utf8');
  return text
    .split(/^(?=## )/m)
    .slice(1)
    .map((section) => {
      const lines = section.split('\n');
      const [, version] = HEADING.exec(lines[0] ?? '') ?? [];
      assert.ok(
        version !== undefined,
        `"${lines[0]}" is not "## VERSION", with (unreleased) or (YYYY-MM-DD) behind it or nothing`,
      );
      return { version, entries: lines.filter((line) => line.startsWith('- ')).length };
    });
}

const byNewest = (a: string, b: string): number => b.localeCompare(a, 'en', { numeric: true });

test('the version of package.json has the first section of CHANGELOG.md, and says what is new', async () => {
  const [first] = await sections();
  assert.equal(first?.version, manifest.version);
  assert.ok(first.entries > 0, `the section of ${first.version} has no entries`);
});

test('the sections of CHANGELOG.md stand from the newest to the oldest, each once', async () => {
  const versions = (await sections()).map(({ version }) => version);
  assert.deepEqual(versions, [...new Set(versions)].sort(byNewest));
});

test('package-lock.json has the version of package.json', async () => {
  const lock: unknown = JSON.parse(await readFile(new URL('../../../package-lock.json', import.meta.url), 'utf8'));
  assert.partialDeepStrictEqual(lock, { version: manifest.version, packages: { '': { version: manifest.version } } });
});
