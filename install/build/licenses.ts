/** The texts of the licences of what a program is made of: Fairlead's, Node's, and those of the packages in its bundle. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';
import { ROOT } from './bundling.ts';
import { NODE_VERSION, nodeLicense } from './node-binary.ts';

/** The folder of the package that a file of a bundle is from. */
const PACKAGE_DIR = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/;
/** What must go along with a package that is passed on. */
const TEXTS = /^(?:licen[sc]e|copying|notice)/i;
const RULE = `${'='.repeat(80)}\n`;

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  readonly author?: string | { readonly name?: string };
}

/** Folders of the packages that a bundle has files of. */
export function packagesOf({ inputs }: Metafile): string[] {
  const dirs = Object.keys(inputs).flatMap((file) => PACKAGE_DIR.exec(file)?.slice(0, 1) ?? []);
  return [...new Set(dirs)].map((dir) => join(ROOT, dir));
}

/** One text for all, the same each time. @param packageDirs of packages other than Fairlead itself and Node */
export async function licenseTexts(packageDirs: readonly string[]): Promise<string> {
  const packages = await Promise.all(packageDirs.map(licenseOf));
  // By code units: locales differ from machine to machine.
  const sorted = [...new Set(packages)].sort((a, b) => (a < b ? -1 : 1));
  const node = `Node.js ${NODE_VERSION}\n\n${(await nodeLicense()).trim()}\n`;
  return [await licenseOf(ROOT), node, ...sorted].join(`\n${RULE}`);
}

async function licenseOf(dir: string): Promise<string> {
  const manifest = JSON.parse(await readFile(join(dir, 'package.json'), 'utf8')) as Manifest;
  const { name, version, license = 'no licence is stated', author } = manifest;
  const files = (await readdir(dir)).filter((file) => TEXTS.test(file)).sort();
  const texts = await Promise.all(files.map((file) => readFile(join(dir, file), 'utf8')));
  const by = typeof author === 'string' ? author : author?.name;
  // A few packages state their licence and have no text of it.
  if (texts.length === 0) texts.push(`${license}${by === undefined ? '' : `, by ${by}`}`);
  return `${name} ${version} (${license})\n\n${texts.map((text) => `${text.replaceAll('\r\n', '\n').trim()}\n`).join('\n')}`;
}
