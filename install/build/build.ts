/**
 * Bundles the three programs into `dist/`: a few files each in place of a thousand, which start in half the time. What has
 * parts of its own beside it stays outside: what is native, and what starts workers.
 */
import { readdir, rm } from 'node:fs/promises';
import { build } from 'esbuild';
import { BUNDLING, ROOT } from './bundling.ts';

const OUT_DIR = `${ROOT}dist`;

/** By the name that each has in `dist/`. */
const ENTRIES = {
  server: 'server/main.ts',
  agent: 'agent/main.ts',
  cli: 'server/cli/main.ts',
  'snapshot-worker': 'server/store/snapshot-worker.ts',
};

const EXTERNAL = ['better-sqlite3', 'bufferutil', 'pino', 'pino-pretty'];

// The agents' executables beside them stay.
const before = await readdir(OUT_DIR).catch(() => []);
for (const name of before) if (name.endsWith('.mjs')) await rm(`${OUT_DIR}/${name}`);
await build({
  ...BUNDLING,
  entryPoints: ENTRIES,
  outdir: OUT_DIR,
  outExtension: { '.js': '.mjs' },
  splitting: true,
  target: 'node24',
  external: EXTERNAL,
  // What is CommonJS among the dependencies asks for Node's own modules in its own way.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
});
