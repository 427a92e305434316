/** The version of this build, as package.json states it, and what it was built from. */
import manifest from '../package.json' with { type: 'json' };

/** Put in by the build of an executable. */
declare const FAIRLEAD_COMMIT: string | undefined;
declare const FAIRLEAD_VERSION: string | undefined;

export const VERSION: string = typeof FAIRLEAD_VERSION === 'string' ? FAIRLEAD_VERSION : manifest.version;

/** The commit that an executable was built from; undefined where that is not known, as for sources that run as they are. */
export const COMMIT: string | undefined =
  typeof FAIRLEAD_COMMIT === 'string' && FAIRLEAD_COMMIT !== '' ? FAIRLEAD_COMMIT : undefined;
