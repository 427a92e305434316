/** What the launcher knows of the agent's state directory: whose it is, and where it connects. */
import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Type, { type Static } from 'typebox';
import { fits } from '../../shared/validate.ts';
import { LaunchError } from './options.ts';

const AgentState = Type.Object({
  hostId: Type.String(),
  name: Type.String(),
  server: Type.String(),
  agentUrl: Type.String(),
  caFingerprint: Type.String(),
});
export type AgentState = Static<typeof AgentState>;

/** The agent's record; undefined if it is not enrolled. @throws LaunchError if it cannot be read */
export async function readAgentState(agentDir: string): Promise<AgentState | undefined> {
  const path = join(agentDir, 'agent.json');
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new LaunchError(`cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (!fits(AgentState, value)) throw new LaunchError(`${path} is damaged: ${startAgain(agentDir)}`);
  return value;
}

/** What to do when this machine's agent cannot go on as it is. */
export function startAgain(agentDir: string): string {
  return `to enroll this machine anew, remove the folder ${agentDir} and run npm start again`;
}

/**
 * Lets the agent connect where the server listens now: a free port may differ at each start.
 * All other fields, the owner's policy among them, stay.
 */
export async function pointAgentAt(agentDir: string, urls: { server: string; agentUrl: string }): Promise<void> {
  const path = join(agentDir, 'agent.json');
  const record = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  if (record['server'] === urls.server && record['agentUrl'] === urls.agentUrl) return;
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(temporary, `${JSON.stringify({ ...record, ...urls }, null, 2)}\n`, { mode: 0o644, flush: true });
  await rename(temporary, path);
}
