/** What an upgrade must know of its own process, and be able to do with it. */

export interface OwnProcess {
  /** The one executable that it runs from, links resolved; undefined: it runs from sources or bundles. */
  readonly executable: string | undefined;
  readonly version: string;
  /** The sequence of the release that it was built for; absent: the build was given none. */
  readonly sequence?: number;
  readonly pid: number;
  /** What it was called. */
  readonly argv0: string;
  /** From its command on. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a launcher holds an IPC channel to it, which no other image would take over. */
  readonly isLaunched: boolean;
  /** Puts another image in the place of this process's, under the same pid. @throws what keeps it from that */
  execve(file: string, argv: readonly string[], env: Readonly<Record<string, string | undefined>>): never;
}

/** Whether what supervises this process starts it again when it ends: service files and scripts of ours say so. */
export function isSupervised(env: OwnProcess['env']): boolean {
  return env['FAIRLEAD_SUPERVISED'] === '1';
}
