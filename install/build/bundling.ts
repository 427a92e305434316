/** What all bundles have in common. */
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from 'esbuild';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What dockerode loads for ways to Docker that are not used here. */
const UNUSED = ['ssh2', '@grpc/grpc-js', '@grpc/proto-loader', 'protobufjs', 'tar-fs', '@balena/dockerignore'];

export const BUNDLING = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: 'node',
  format: 'esm',
  alias: Object.fromEntries(UNUSED.map((name) => [name, './install/build/unused.ts'])),
  logLevel: 'warning',
} as const satisfies BuildOptions;
