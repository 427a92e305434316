/**
 * Makes fairlead-agent into one executable for each target, which needs no Node on its host. The same sources, keys and
 * sequence make the same bytes.
 */
import { parseArgs } from 'node:util';
import { ROOT } from './bundling.ts';
import { buildExecutables, type Made } from './executable.ts';
import { targetOf } from './node-binary.ts';
import { publicKeysOf, sequenceOf } from './release-keys.ts';
import { failed } from './usage.ts';

const MIB = 1024 * 1024;
const USAGE = `Usage: npm run build:agent -- [options]

Makes the agent into one executable, which needs no Node on its host.

  --target TARGET         linux-x64 or linux-arm64; may be repeated (by default this platform)
  --release-key FILE.pub  a public key that it takes releases by; may be repeated (by default it takes none)
  --sequence NUMBER       the release that it is: it takes those above
  --out DIR               where to put it (by default dist/agent-files, where the server finds it)
`;

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const several = { type: 'string', multiple: true } as const;
    const { values } = parseArgs({
      options: {
        ...{ target: several, 'release-key': several, sequence: { type: 'string' }, out: { type: 'string' } },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help === true) {
      process.stdout.write(USAGE);
      return 0;
    }
    const targets = (values.target ?? [`${process.platform}-${process.arch}`]).map(targetOf);
    const releaseKeys = await publicKeysOf(values['release-key'] ?? []);
    const options = { releaseKeys, ...sequenceOf(values.sequence) };
    const made = await buildExecutables(targets, values.out ?? `${ROOT}dist/agent-files`, options);
    for (const each of made) process.stdout.write(`${reportOf(each)}\n`);
    return 0;
  } catch (error) {
    return failed('build:agent', error);
  }
}

function reportOf({ target, file, bytes, gzipBytes, sha256 }: Made): string {
  const size = `${(bytes / MIB).toFixed(1)} MiB, ${(gzipBytes / MIB).toFixed(1)} MiB to download`;
  return `${target}: ${file}, ${size}, sha256 ${sha256}`;
}
