/** What a program runs from: a checkout, an npm package, or the server of a site archive, which says so beside its bundles. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Type, { type Static } from 'typebox';

/** The folder with package.json, `dist/` and `install/`. */
export const INSTALLATION_DIR = fileURLToPath(new URL('..', import.meta.url));

/** In the folder of an installation that is from a site archive. */
export const SITE_FILE = 'site.json';

/** What a site archive is: the contents of `site.json`. */
export const SiteFacts = Type.Object(
  {
    /** Of Fairlead. */
    version: Type.String({ minLength: 1, maxLength: 64 }),
    /** By the names that Node has for systems and architectures. */
    os: Type.String({ pattern: '^[a-z0-9]{1,32}$' }),
    arch: Type.String({ pattern: '^[a-z0-9]{1,32}$' }),
    /** The version of the Node in it. */
    node: Type.String({ minLength: 1, maxLength: 64 }),
  },
  { additionalProperties: false },
);
export type SiteFacts = Static<typeof SiteFacts>;

/** Where the agents' executables of a site archive are; nowhere for what is not from one. */
export function agentFoldersOfSite(installation = INSTALLATION_DIR): string[] {
  return existsSync(join(installation, SITE_FILE)) ? [join(installation, '../../agent-files')] : [];
}
