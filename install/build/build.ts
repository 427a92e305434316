/**
 * Bundles the three programs into `dist/`: a few files each in place of a thousand, which start in half the time. What has
 * parts of its own beside it stays outside: what is native, and what starts workers.
 */
import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const OUT_DIR = `${ROOT}dist`;

/** By the name that each has in `dist/`. */
const ENTRIES = {
  server: 'server/main.ts',
  agent: 'agent/main.ts',
  cli: 'server/cli/main.ts',
  'snapshot-worker': 'server/store/snapshot-worker.ts',
};

const EXTERNAL = ['better-sqlite3', 'bufferutil', 'pino', 'pino-pretty'];
/** What dockerode loads for ways to Docker that are not used here. */
const UNUSED = ['ssh2', '@grpc/grpc-js', '@grpc/proto-loader', 'protobufjs', 'tar-fs', '@balena/dockerignore'];

await rm(OUT_DIR, { recursive: true, force: true });
await build({
  absWorkingDir: ROOT,
  entryPoints: ENTRIES,
  outdir: OUT_DIR,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  external: EXTERNAL,
  alias: Object.fromEntries(UNUSED.map((name) => [name, './install/build/unused.ts'])),
  // What is CommonJS among the dependencies asks for Node's own modules in its own way.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  logLevel: 'warning',
});
