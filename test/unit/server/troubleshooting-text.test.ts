/** What server/TROUBLESHOOTING.md quotes is said by a program, and what it says of codes is said of each, and of no other. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { EXIT } from '../../../agent/link/outcome.ts';
import { buildProgram } from '../../../server/cli/program.ts';
import { ERRORS } from '../../../shared/errors.ts';

const root = new URL('../../../', import.meta.url);
const text = readFileSync(new URL('server/TROUBLESHOOTING.md', root), 'utf8');

/** The rows of the table below a heading, without its head, cell by cell. */
function rowsBelow(heading: string): string[][] {
  const part = text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const lines = part.split('\n').filter((line) => line.startsWith('|'));
  return lines.slice(2).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** What other programs say. */
const FOREIGN = ['computed checksum did NOT match', 'tls: failed to verify certificate'];
/** What stands for a value, in which sentences of programs differ. */
const VALUES = /…|--[a-z-]+|\(?\b[A-Z][A-Z_]{3,}\b\)?/;

/** All sources, each sentence that is joined of several strings in one piece. */
function sources(): string {
  const files = ['agent', 'certs', 'install', 'server', 'shared'].flatMap((folder) =>
    readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(ts|sh)$/.test(name))
      .map((name) => readFileSync(new URL(`${folder}/${name}`, root), 'utf8')),
  );
  return files
    .join('\n')
    .replace(/['"`]\s*\+\s*['"`]/g, '')
    .replaceAll("\\'", "'");
}

test('what programs are quoted with, they say', () => {
  const said = sources();
  /** As it is, or as a beginning and an end of several words that meet when the program runs. */
  const isSaid = (part: string): boolean => {
    if (said.includes(part)) return true;
    const words = part.split(' ');
    const ends = words.map((_, at) => [words.slice(0, at), words.slice(at)] as const);
    return ends.some((pair) => pair.every((end) => end.length > 1 && said.includes(end.join(' ').replace(/:$/, ''))));
  };
  const below = text.split('\n## By symptom\n')[1]?.split('\n## ')[0] ?? '';
  const quotes = [...below.matchAll(/^\| ([^|]+) \|/gm)].flatMap(([, cell = '']) => [...cell.matchAll(/`([^`]+)`/g)]);
  assert.ok(quotes.length > 40);
  const unsaid = quotes
    .flatMap(([, quote = '']) => quote.split(VALUES))
    .map((part) => part.replace(/^[ ,()]+|[ ,()]+$/g, ''))
    .filter((part) => part.length > 7 && !FOREIGN.includes(part) && !part.startsWith('x509') && !isSaid(part));
  assert.deepEqual(unsaid, []);
});

test('each error code has a row, with what it means and what to do', () => {
  const rows = rowsBelow('By error code');
  const written = rows.map(([code = '']) => code.replaceAll('`', ''));
  assert.deepEqual(written.toSorted(), Object.keys(ERRORS).toSorted());
  for (const [code, means, , todo] of rows) assert.ok((means ?? '') !== '' && (todo ?? '') !== '', code ?? '');
});

test('each exit code of the agent has a row, and there is no other', () => {
  const rows = rowsBelow('By exit code');
  assert.deepEqual(
    rows.map(([code]) => Number(code)),
    Object.values(EXIT).toSorted(),
  );
});

test('commands of the CLI that are named are there', () => {
  const io = { env: {}, stdout: process.stdout, stderr: process.stderr };
  const program = buildProgram({ io, exitCode: 0 } as unknown as Parameters<typeof buildProgram>[0]);
  const names = new Set(program.commands.map((command) => command.name()));
  const cited = [...text.matchAll(/`fairlead ([a-z-]+)/g)].map(([, name = '']) => name);
  assert.ok(cited.length > 20);
  assert.deepEqual(
    [...new Set(cited)].filter((name) => !names.has(name)),
    [],
  );
});

test('README.md and OPERATIONS.md lead to it', () => {
  for (const name of ['README.md', 'server/OPERATIONS.md']) {
    assert.match(readFileSync(new URL(name, root), 'utf8'), /server\/TROUBLESHOOTING\.md/, name);
  }
});
