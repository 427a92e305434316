/** Garbage for a server's ports, thrown by a program of its own. */
import type { Hello } from '../../shared/messages/control.ts';
import { launchCommand, ROOT } from './launcher.ts';
import type { Cleanup } from './tmp.ts';
import { within } from './wait.ts';

export interface GarbageOptions {
  readonly apiPort: number;
  readonly agentPort: number;
  readonly ms: number;
  /** Connections at once. */
  readonly atOnce: number;
  /** A pending enrollment token, of which forgeries are made; with a CSR that is right. */
  readonly token: string;
  readonly csr: string;
  /** The identity of an enrolled agent that misbehaves. */
  readonly agent: { readonly key: string; readonly cert: string };
  readonly hello: Hello;
}

/** Throws until its time is over. @returns how often it threw what */
export async function throwGarbage(cleanup: Cleanup, options: GarbageOptions): Promise<Record<string, number>> {
  const child = launchCommand(cleanup, process.execPath, [
    `${ROOT}test/support/garbage-child.ts`,
    JSON.stringify(options),
  ]);
  const { code } = await within(options.ms + 20_000, 'the end of the garbage', child.exited, () => child.transcript());
  if (code !== 0) throw new Error(child.transcript());
  return JSON.parse(child.stdout) as Record<string, number>;
}
