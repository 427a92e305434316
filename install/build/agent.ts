/**
 * Makes fairlead-agent into one executable for each target, which needs no Node on its host:
 * `node install/build/agent.ts [--target linux-x64|linux-arm64]… [--out DIR]`, by default for this platform and into
 * `dist/agent-files`, where the server finds them. The same sources make the same bytes.
 */
import { parseArgs } from 'node:util';
import { ROOT } from './bundling.ts';
import { buildExecutables, type Made } from './executable.ts';
import { PINNED, type Target } from './node-binary.ts';

const MIB = 1024 * 1024;

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const { values } = parseArgs({ options: { target: { type: 'string', multiple: true }, out: { type: 'string' } } });
    const targets = (values.target ?? [`${process.platform}-${process.arch}`]).map(targetOf);
    const made = await buildExecutables(targets, values.out ?? `${ROOT}dist/agent-files`);
    for (const each of made) process.stdout.write(`${reportOf(each)}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`build:agent: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

function targetOf(name: string): Target {
  if (Object.hasOwn(PINNED, name)) return name as Target;
  throw new Error(`there is no target ${name}: there are ${Object.keys(PINNED).join(', ')}`);
}

function reportOf({ target, file, bytes, gzipBytes, sha256 }: Made): string {
  const size = `${(bytes / MIB).toFixed(1)} MiB, ${(gzipBytes / MIB).toFixed(1)} MiB to download`;
  return `${target}: ${file}, ${size}, sha256 ${sha256}`;
}
