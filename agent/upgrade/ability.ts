/** Whether this agent can replace itself by a release, and if not, why. */
import { access, constants, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { HostPolicy } from '../../shared/messages/control.ts';
import { agentUpgrade } from '../../shared/messages/release.ts';
import type { ReleaseKeys } from '../../shared/releases/signature.ts';
import { type PolicySubject, permits } from '../policy/policy.ts';
import type { OwnProcess } from './own-process.ts';

/** What the host's policy goes by: its owner may deny it by name, by its family, or as a change. */
export const UPGRADE_SUBJECT: PolicySubject = { name: agentUpgrade.name, policy: 'change' };

/** @returns why not, in a sentence that fits a hello; undefined: it can */
export async function inability(
  own: Pick<OwnProcess, 'executable' | 'isLaunched'>,
  { keys, policy }: { keys: ReleaseKeys; policy: HostPolicy },
): Promise<string | undefined> {
  if (own.executable === undefined) return 'it does not run as one executable';
  if (!permits(policy, UPGRADE_SUBJECT)) return `this host's policy does not allow ${UPGRADE_SUBJECT.name}`;
  if (own.isLaunched) return 'a launcher holds its process';
  if (keys.size === 0) return 'it knows no key that releases are signed by';
  return await whyNotWritable(dirname(own.executable));
}

async function whyNotWritable(directory: string): Promise<string | undefined> {
  try {
    await access(directory, constants.W_OK);
    const { mode } = await stat(directory);
    // What stands there could be another's the next moment.
    return (mode & 0o022) === 0 ? undefined : 'others may write into the folder of its executable';
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return `it cannot write into the folder of its executable (${code})`;
  }
}
