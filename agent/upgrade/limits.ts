/** Limits of an upgrade. */

/** From the start of a trial on: what has not shown by then that it can connect is given up. */
export const TRIAL_MS = 60_000;
/** From the start of a new executable on: by then it must have been welcomed, else the one before comes back. */
export const SETTLE_MS = 3 * 60_000;
/** Between two attempts to write down that it was, while the disk does not let it. */
export const SETTLE_RETRY_MS = 5_000;
/** How much later the watcher acts, which is there for one that does not do so itself; not more than the time itself again. */
export const WATCH_MARGIN_MS = 30_000;
/** A watcher that has got nowhere is gone by then, from its own deadline on. */
export const WATCH_END_MS = 30_000;
/** How often a new executable may start without settling. */
export const MAX_STARTS = 3;
/** How often a release is tried whose trials were cut short. */
export const MAX_TRIALS = 3;
/** Of offers that are refused closer together only the first is logged and written down. */
export const REFUSAL_PACE_MS = 1_000;
/** Releases that are remembered as tried in vain: as many as a hello takes. */
export const MAX_REFUSED = 16;
/** A download of which nothing comes for so long is interrupted. */
export const STALL_MS = 60_000;
/** The server may let hosts wait for their turn. */
export const TURN_MS = 10 * 60_000;
/** Attempts at a download over one session in a row of which each brings less than this. */
export const MAX_ATTEMPTS = 10;
export const WORTHWHILE_BYTES = 256 * 1024;
export const RETRY_MIN_MS = 5_000;
export const RETRY_MAX_MS = 5 * 60_000;
/** Downloads in a row that are not what was signed, after which there is a pause, and how long it is: twice as long each time. */
export const MAX_SPOILED = 3;
export const SPOILED_MIN_MS = 60_000;
export const SPOILED_MAX_MS = 60 * 60_000;
/** Between two reports on a download. */
export const PROGRESS_MS = 5_000;
/** What is left free on the disk. */
export const SPARE_BYTES = 16 * 1024 * 1024;
/** The old process is replaced by then, whatever of it hangs. */
export const REPLACE_LIMIT_MS = 15_000;
/** How long the server may take to show that it is there still, and what it wishes, after a trial that failed. */
export const SERVER_THERE_MS = 10_000;
