/** Shows that the import rules in biome.json bite: each forbidden import is reported, each allowed one is not. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BIOME = fileURLToPath(import.meta.resolve('@biomejs/biome/bin/biome'));

/** File, then what it must not import. */
const FORBIDDEN: [file: string, imports: string[]][] = [
  [
    'shared/a.ts',
    ['../server/hosts/x.ts', '../agent/x.ts', '../certs/x.ts', '../install/x.ts', '../test/support/x.ts'],
  ],
  ['shared/b.ts', ['ws', 'fastify', '@fastify/swagger', 'node-forge', 'pino', 'better-sqlite3', 'dockerode']],
  ['shared/c.ts', ['node:process', 'yaml']],
  ['shared/compose/a.ts', ['../../server/app.ts', 'ws', 'fastify']],
  ['shared/mux/a.ts', ['../../certs/pin.ts', '../../server/app.ts', 'ws']],
  ['shared/mux/ws-transport.ts', ['../../certs/pin.ts', '../../agent/app.ts', 'fastify']],
  [
    'certs/a.ts',
    ['../server/x.ts', '../agent/x.ts', '../shared/validate.ts', '../shared/mux/session.ts', 'ws', 'kysely'],
  ],
  ['agent/a.ts', ['../server/x.ts', '../install/x.ts', '../test/x.ts', 'dockerode', 'fastify', 'kysely', 'node-forge']],
  ['agent/link/a.ts', ['../../server/hosts/host-link.ts', 'dockerode', 'node:process']],
  ['agent/docker/a.ts', ['../../server/hosts/host-link.ts', 'ws', 'fastify']],
  [
    'server/a.ts',
    ['../agent/x.ts', '../install/x.ts', '../test/x.ts', 'kysely', 'better-sqlite3', 'node-forge', 'dockerode'],
  ],
  ['server/hosts/a.ts', ['../../agent/app.ts', 'better-sqlite3', 'node:process']],
  ['server/store/a.ts', ['fastify', 'ws', '../routes/x.ts', '../mesh/x.ts', '../hosts/x.ts', '../../agent/x.ts']],
  ['server/routes/a.ts', ['kysely', 'better-sqlite3', 'node-forge', 'node:net', 'node:tls', '../store/store.ts']],
  ['server/routes/b.ts', ['../mesh/x.ts', '../../certs/pin.ts', '../../shared/mux/session.ts', '../../agent/x.ts']],
  [
    'server/cli/a.ts',
    ['../store/store.ts', '../app.ts', '../routes/x.ts', '../mesh/x.ts', 'fastify', '../../agent/x.ts'],
  ],
  ['server/cli/b.ts', ['../backup/backups.ts', '../backup/restore-note.ts']],
  ['install/a.ts', ['../server/app.ts', '../server/store/store.ts', '../agent/app.ts', '../test/support/x.ts']],
];

const ALLOWED: [file: string, imports: string[]][] = [
  ['shared/z.ts', ['node:fs/promises', 'typebox', 'typebox/compile', '@msgpack/msgpack', './limits.ts']],
  ['shared/compose/z.ts', ['yaml', '../errors.ts']],
  ['shared/mux/z.ts', ['../limits.ts', './transport.ts']],
  ['shared/mux/ws-transport.ts', ['ws']],
  ['certs/z.ts', ['../shared/errors.ts', '../shared/limits.ts', '../shared/clock.ts', 'node-forge', 'node:crypto']],
  ['agent/z.ts', ['../shared/mux/session.ts', '../certs/pin.ts', './link/dial.ts', 'ws', 'pino', 'node:os']],
  ['agent/docker/z.ts', ['dockerode', '../../shared/errors.ts']],
  ['server/z.ts', ['./store/store.ts', '../certs/pin.ts', '../shared/errors.ts', 'fastify', 'ws', 'node:tls']],
  ['server/store/z.ts', ['kysely', 'better-sqlite3', '../../shared/errors.ts']],
  ['server/routes/z.ts', ['../hosts/host-link.ts', '../../shared/messages/index.ts', 'fastify', '@fastify/swagger']],
  ['server/cli/z.ts', ['../../shared/pinned-http.ts', '../../certs/names.ts', 'commander', 'node:process']],
  ['server/cli/y.ts', ['../backup/header.ts', '../backup/read.ts', '../backup/restore.ts']],
  ['install/z.ts', ['../server/cli/api-client.ts', '../server/config.ts', '../shared/errors.ts']],
  ['install/entry/z.ts', ['../../server/process.ts', '../../agent/process.ts']],
  ['test/unit/z.ts', ['../../server/app.ts', '../../agent/app.ts', 'dockerode']],
];

/** Bodies that rules other than those on imports must report, by the rule. */
const BODIES: [file: string, body: string, rule: string][] = [
  ['server/hosts/argv.ts', 'export const args = process.argv;\n', 'nursery/noJsRestrictedProperties'],
  ['agent/link/env.ts', 'export const env = process.env;\n', 'nursery/noJsRestrictedProperties'],
  ['shared/exit.ts', 'export const leave = () => process.exit(1);\n', 'nursery/noJsRestrictedProperties'],
  ['shared/any.ts', 'export const x = (y: any) => String(y);\n', 'suspicious/noExplicitAny'],
  ['shared/unused.ts', "import { join } from 'node:path';\n", 'correctness/noUnusedImports'],
  [
    'shared/floating.ts',
    'const f = async () => 1;\nexport const g = () => {\n  f();\n};\n',
    'nursery/noFloatingPromises',
  ],
  [
    'shared/empty.ts',
    'export const f = (g: () => void) => {\n  try {\n    g();\n  } catch {}\n};\n',
    'suspicious/noEmptyBlockStatements',
  ],
  [
    'shared/cycle-a.ts',
    "import { b } from './cycle-b.ts';\nexport const a = () => b();\n",
    'suspicious/noImportCycles',
  ],
  [
    'shared/cycle-b.ts',
    "import { a } from './cycle-a.ts';\nexport const b = (): unknown => a();\n",
    'suspicious/noImportCycles',
  ],
];

interface Diagnostic {
  category: string;
  location: { path: string; start: { line: number } };
}

let dir: string;
/** `path:line category` of everything Biome reports. */
let reported: Set<string>;

function sourceOf(imports: string[]): string {
  return imports.map((specifier) => `import '${specifier}';\n`).join('');
}

/** The probe's file name: allowed and forbidden imports of one file need two, except where the name is the rule. */
async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(dir, path)), { recursive: true });
  await writeFile(join(dir, path), text);
}

function merged(): Map<string, string[]> {
  const files = new Map<string, string[]>();
  for (const [file, imports] of [...FORBIDDEN, ...ALLOWED]) files.set(file, [...(files.get(file) ?? []), ...imports]);
  return files;
}

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fairlead-lint-'));
  for (const name of ['biome.json', 'package.json']) await copyFile(join(ROOT, name), join(dir, name));
  for (const [file, imports] of merged()) await put(file, sourceOf(imports));
  for (const [file, body] of BODIES) await put(file, body);
  const args = ['lint', '--vcs-enabled=false', '--reporter=json', '--max-diagnostics=none', '.'];
  const run = spawnSync(process.execPath, [BIOME, ...args], { cwd: dir, encoding: 'utf8' });
  const { diagnostics } = JSON.parse(run.stdout) as { diagnostics: Diagnostic[] };
  reported = new Set(diagnostics.map((d) => `${d.location.path}:${d.location.start.line} ${d.category}`));
});

after(() => rm(dir, { recursive: true, force: true }));

function isReported(file: string, specifier: string): boolean {
  const line = (merged().get(file) ?? []).indexOf(specifier) + 1;
  return reported.has(`${file}:${line} lint/style/noRestrictedImports`);
}

for (const [file, imports] of FORBIDDEN) {
  test(`${file} may not import ${imports.join(', ')}`, () => {
    assert.deepEqual(
      imports.filter((specifier) => !isReported(file, specifier)),
      [],
    );
  });
}

for (const [file, imports] of ALLOWED) {
  test(`${file} may import ${imports.join(', ')}`, () => {
    assert.deepEqual(
      imports.filter((specifier) => isReported(file, specifier)),
      [],
    );
  });
}

for (const [file, , rule] of BODIES) {
  test(`${rule} bites in ${file}`, () => {
    assert.ok([...reported].some((line) => line.startsWith(`${file}:`) && line.endsWith(`lint/${rule}`)));
  });
}
