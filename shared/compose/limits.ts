/** What a Compose file may be made of: enough for any real one, too little to keep anybody busy. */

/** The pieces that a YAML file falls into: each line has about five. */
export const MAX_TOKENS = 40_000;
/** Collections inside of one another. */
export const MAX_DEPTH = 64;
/** How often aliases may stand for what they name, each counted with the aliases inside of it. */
export const MAX_ALIASES = 1_000;
export const MAX_SERVICES = 256;
/** Of variables, names and values together, in characters. */
export const MAX_ENV_CHARS = 64 * 1024;
