/** How long calls to Docker may take that do much. */

/** To make something, or to take it away: an image has many files. */
export const LONG_CALL_MS = 120_000;
/** To take away all that is not used. */
export const PRUNE_CALL_MS = 600_000;
