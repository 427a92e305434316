/** The docker CLI of this machine. */
import { execFile } from 'node:child_process';
import { CliError, systemCode } from './errors.ts';

const TIMEOUT_MS = 30_000;

/**
 * Runs docker to its end. @returns what it printed
 * @throws CliError if there is none, or with what it said when it failed
 */
export function runDocker(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('docker', args, { env, timeout: TIMEOUT_MS }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const isLacking = systemCode(error) === 'ENOENT';
      const said = stderr.trim() || error.message;
      const why = isLacking ? 'there is no docker CLI on this machine' : `docker ${args[0]} failed: ${said}`;
      reject(new CliError(why, { cause: error }));
    });
  });
}
