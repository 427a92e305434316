/** The way of one agent to its server, in the hands of a test. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Link, LinkOptions } from './link-emulator.ts';
import { startLink } from './link-emulator-process.ts';
import type { Enrolled, Server } from './mesh.ts';
import { type Cleanup, defer } from './tmp.ts';

/** Lets an agent that does not run yet reach the server through a link alone. */
export async function linkAgent(
  cleanup: Cleanup,
  server: Server,
  agent: Enrolled,
  pace: Omit<LinkOptions, 'port'>,
): Promise<Link> {
  const link = await startLink({ port: Number(new URL(server.runtime.agentUrl).port), ...pace });
  defer(cleanup, () => link.close());
  const file = join(agent.stateDir, 'agent.json');
  const record = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...record, agentUrl: record.agentUrl.replace(/:\d+/, `:${link.port}`) }));
  return link;
}
