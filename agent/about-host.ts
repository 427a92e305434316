/** What this host says of itself, and what its owner lets it serve. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { KNOWN_CALLS } from '../shared/docker/api-calls.ts';
import type { DockerState, Hello, HostPolicy } from '../shared/messages/control.ts';
import { PROTOCOL_VERSIONS, STREAM_KINDS } from '../shared/messages/index.ts';
import { COMPRESSIONS } from '../shared/mux/handshake.ts';
import { VERSION } from '../shared/version.ts';
import type { RunConfig } from './config.ts';
import type { HostFacts } from './identity/enroll.ts';
import { type AgentRecord, RECORD_FILE } from './identity/state-dir.ts';
import { checkDenials, mergePolicy } from './policy/policy.ts';
import { UPGRADE_SUBJECT } from './upgrade/ability.ts';

/** What entries of a policy may name: kinds, what calls of Docker's API go by, and that the agent replaces itself. */
export const POLICY_SUBJECTS = [...STREAM_KINDS, ...KNOWN_CALLS, UPGRADE_SUBJECT];

/** What this machine says of itself. */
export function hostFacts(): HostFacts {
  return { hostname: hostname(), os: process.platform, arch: process.arch, agentVersion: VERSION };
}

/** What agent.json and the command line say together. @throws FairleadError VALIDATION that names the place and the entry */
export function policyOf(record: AgentRecord, config: RunConfig): HostPolicy {
  const file = join(config.stateDir, RECORD_FILE);
  const policy = mergePolicy(record, config, file);
  checkDenials(record, POLICY_SUBJECTS, `deny in ${file}`);
  checkDenials(config, POLICY_SUBJECTS);
  return policy;
}

/** @param instanceId of this process */
export function helloOf(instanceId: string, docker: DockerState, policy: HostPolicy, capabilities: string[]): Hello {
  return {
    versions: [...PROTOCOL_VERSIONS],
    ...hostFacts(),
    instanceId,
    docker,
    capabilities,
    policy,
    compression: [...COMPRESSIONS],
  };
}
