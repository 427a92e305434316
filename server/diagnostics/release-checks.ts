/** What is to be said of the agents that hosts get: executables for new ones, releases for the others, and rollouts. */
import { type Check, named, ok, warn } from '../../shared/doctor/check.ts';
import { isFairleadError } from '../../shared/errors.ts';
import type { AgentPlatform } from '../routes/deps/agent-files.ts';
import type { DiagnosticParts } from './parts.ts';

/** For which the installer knows executables. */
const PLATFORMS: readonly AgentPlatform[] = [
  { os: 'linux', arch: 'x64' },
  { os: 'linux', arch: 'arm64' },
];
/** Of the newest rollouts. */
const MAX_ROLLOUTS = 50;

export async function releaseChecks(parts: DiagnosticParts): Promise<Check[]> {
  return [await executables(parts), releases(parts), await rollouts(parts)];
}

async function executables({ agentFiles }: DiagnosticParts): Promise<Check> {
  const found: string[] = [];
  for (const platform of PLATFORMS) {
    try {
      const { handle } = await agentFiles.open(platform, 'fairlead-agent');
      await handle.close();
      found.push(`${platform.os}/${platform.arch}`);
    } catch (error) {
      if (!isFairleadError(error, 'NOT_FOUND')) throw error;
    }
  }
  if (found.length > 0) return ok('agents', `new hosts get the agent's executable for ${named(found)}`);
  return warn(
    'agents',
    'there is no executable of the agent: the line that token create prints installs nothing',
    'make one by `npm run build:agent`, or add a release: `fairlead agent release add DIR`',
  );
}

function releases(parts: DiagnosticParts): Check {
  const all = parts.releases.list();
  const incomplete = all.filter(({ state }) => state === 'incomplete').map(({ version }) => version);
  if (incomplete.length > 0) {
    return warn(
      'releases',
      `executables of these releases were not uploaded, so that they are offered to nobody: ${named(incomplete)}`,
      'run `fairlead agent release add DIR` again, or `fairlead agent release rm SEQUENCE`',
    );
  }
  const [newest] = all;
  if (newest === undefined) return ok('releases', 'no release of the agent was added');
  return ok('releases', `the newest release is ${newest.version}, sequence ${newest.sequence}`);
}

async function rollouts({ store }: DiagnosticParts): Promise<Check> {
  const { items } = await store.rollouts.list({ limit: MAX_ROLLOUTS });
  const halted = items.filter(({ progress }) => progress.state === 'halted' && progress.endedAt === undefined);
  if (halted.length === 0) return ok('rollouts', 'no rollout is halted');
  const names = halted.map(({ id, version, progress }) => `${id} of ${version} (${progress.reason ?? 'no reason'})`);
  return warn(
    'rollouts',
    `halted: ${named(names)}`,
    'look by `fairlead rollout show ID`, then `fairlead rollout resume ID` or `abort ID`',
  );
}
