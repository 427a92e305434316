/** `try`: what a new executable is asked to show before it takes the place of the agent that serves here. */

import { VERSION } from '../shared/version.ts';
import { helloOf, policyOf } from './about-host.ts';
import type { AppDeps } from './app.ts';
import type { RunConfig } from './config.ts';
import { DockerEngine } from './docker/engine.ts';
import { Credentials } from './identity/credentials.ts';
import type { TrialAnswer } from './upgrade/trial.ts';
import { showThatItWorks } from './upgrade/try.ts';

/**
 * Connects once as the host of `config`, beside its agent, whose state directory stays as it is.
 * @throws FairleadError, or UnreachableError, with what the trial failed at
 */
export async function tryAgent(config: RunConfig, deps: AppDeps, stop: AbortSignal): Promise<TrialAnswer> {
  const identity = await Credentials.peek(config.stateDir);
  const policy = policyOf(identity.record, config);
  const docker = new DockerEngine({ socket: config.docker, policy, clock: deps.clock, log: deps.log });
  const hello = (instanceId: string) => helloOf(instanceId, docker.state, policy, []);
  try {
    return await showThatItWorks({ ...deps, identity, docker, hello, version: VERSION }, stop);
  } finally {
    docker.close();
  }
}
