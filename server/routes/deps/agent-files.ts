/** What the routes need of the agent's executables. */
import type { FileHandle } from 'node:fs/promises';

/** What there is for each system and architecture. */
export const AGENT_FILES = {
  'fairlead-agent': 'application/octet-stream',
  'fairlead-agent.gz': 'application/gzip',
  'fairlead-agent.sha256': 'text/plain; charset=utf-8',
  'fairlead-agent.sig': 'application/octet-stream',
} as const;

export type AgentFileName = keyof typeof AGENT_FILES;
export const AGENT_SYSTEMS = ['linux', 'darwin'] as const;
export const AGENT_ARCHITECTURES = ['x64', 'arm64'] as const;

/** A platform by the names that Node has for it. */
export interface AgentPlatform {
  readonly os: (typeof AGENT_SYSTEMS)[number];
  readonly arch: (typeof AGENT_ARCHITECTURES)[number];
}

/** An open file, for the caller to close. */
export interface OpenAgentFile {
  readonly handle: FileHandle;
  readonly bytes: number;
  /** Another one for other content. */
  readonly etag: string;
}

export interface AgentFilesService {
  /** @throws FairleadError NOT_FOUND, which says how to provide it */
  open(platform: AgentPlatform, name: AgentFileName): Promise<OpenAgentFile>;
}
