/** The running agent: constructs the few things that live long, and ends them in order. */
import { randomUUID } from 'node:crypto';
import type { Agent } from 'node:https';
import { hostname, loadavg } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Clock } from '../shared/clock.ts';
import { KNOWN_CALLS } from '../shared/docker/api-calls.ts';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import type { Hello, HostPolicy } from '../shared/messages/control.ts';
import { PROTOCOL_VERSIONS, STREAM_KINDS } from '../shared/messages/index.ts';
import { trustUpdate } from '../shared/messages/trust.ts';
import { COMPRESSIONS } from '../shared/mux/handshake.ts';
import { fetchUntrusted, UnreachableError } from '../shared/pinned-http.ts';
import { permitsTarget, type TcpTarget } from '../shared/tcp-targets.ts';
import { VERSION } from '../shared/version.ts';
import type { RunConfig, UnenrollConfig } from './config.ts';
import { DockerEngine } from './docker/engine.ts';
import { feedOf } from './docker/event-feed.ts';
import { EXECS_DIRECTORY, LeftExecs } from './docker/left-execs.ts';
import { HANDLERS } from './handlers/index.ts';
import type { HawserConfig } from './hawser/config.ts';
import { Hawser } from './hawser/hawser.ts';
import { Credentials } from './identity/credentials.ts';
import type { HostFacts } from './identity/enroll.ts';
import { KnownRoots } from './identity/known-roots.ts';
import { recover } from './identity/recover.ts';
import {
  type AgentRecord,
  type Identity,
  loadIdentity,
  RECORD_FILE,
  removeIdentity,
  unknownFields,
} from './identity/state-dir.ts';
import { StateLock } from './identity/state-lock.ts';
import { Dispatcher } from './link/dispatch.ts';
import { leave } from './link/leave.ts';
import { EXIT } from './link/outcome.ts';
import { Renewer } from './link/renew.ts';
import { type RunEnd, stayConnected } from './link/stay-connected.ts';
import { catchUp, trustControls } from './link/trust-controls.ts';
import { checkDenials, idleEntries, mergePolicy } from './policy/policy.ts';
import { Stacks } from './stacks/stacks.ts';
import { dropKept, VOLUMES_DIRECTORY, Volumes } from './volumes/volumes.ts';

/** How long the first connection waits for the first word on Docker, which goes into the hello. */
const FIRST_DOCKER_STATE_MS = 1_000;

/** What entries of a policy may name: kinds, and what calls of Docker's API go by. */
const POLICY_SUBJECTS = [...STREAM_KINDS, ...KNOWN_CALLS];

export interface AppDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Goes through a proxy where one is configured. */
  readonly httpsAgent: Agent;
  /** Where the host's programs are, as PATH; absent: nowhere. */
  readonly path?: string;
}

/** What this machine says of itself. */
export function hostFacts(): HostFacts {
  return { hostname: hostname(), os: process.platform, arch: process.arch, agentVersion: VERSION };
}

/**
 * Runs the agent until `stop` fires or it must not go on.
 * @throws FairleadError VALIDATION (damaged state, bad policy or address), CONFLICT (another agent runs here, a port is in use)
 */
export async function runAgent(
  config: RunConfig & { readonly hawser?: HawserConfig },
  deps: AppDeps,
  stop: AbortSignal,
): Promise<RunEnd> {
  const identity = await identityIfEnrolled(config.stateDir);
  if (identity instanceof FairleadError) return { exitCode: EXIT.notEnrolled, reason: identity.message };
  const policy = policyOf(identity.record, config);
  const lock = StateLock.claim(config.stateDir, 'connecting', { log: deps.log, now: deps.clock.now });
  try {
    const credentials = await Credentials.load(config.stateDir);
    const { renewBeforeMs } = config;
    const execs = await LeftExecs.load(join(config.stateDir, EXECS_DIRECTORY), deps.log);
    const docker = new DockerEngine({ socket: config.docker, policy, clock: deps.clock, log: deps.log, execs });
    docker.onState(({ reachable }) => void (reachable && execs.end(docker)));
    try {
      const roots = knownRoots(credentials, config.stateDir, deps, stop);
      const directory = join(config.stateDir, VOLUMES_DIRECTORY);
      const volumes = new Volumes({ docker, owner: identity.record.hostId, directory, log: deps.log });
      const stacks = new Stacks({ ...deps, path: deps.path ?? '', stateDir: config.stateDir, docker });
      await stacks.removeLeftovers();
      const about = { agentId: identity.record.hostId, agentName: identity.record.name };
      const hawser = await Hawser.open(config.hawser ?? {}, { ...deps, ...about, docker, stacks, policy });
      stop.addEventListener('abort', () => void hawser.close(), { once: true });
      try {
        return await serve({ credentials, roots, renewBeforeMs, policy, docker, volumes, stacks, lock }, deps, stop);
      } finally {
        await hawser.close();
        volumes.close();
        await stacks.close();
      }
    } finally {
      docker.close();
    }
  } finally {
    lock.release();
  }
}

/** What agent.json and the command line say together. @throws FairleadError VALIDATION that names the place and the entry */
function policyOf(record: AgentRecord, config: RunConfig): HostPolicy {
  const file = join(config.stateDir, RECORD_FILE);
  const policy = mergePolicy(record, config, file);
  checkDenials(record, POLICY_SUBJECTS, `deny in ${file}`);
  checkDenials(config, POLICY_SUBJECTS);
  return policy;
}

interface Parts {
  readonly credentials: Credentials;
  readonly roots: KnownRoots;
  readonly renewBeforeMs: number;
  readonly policy: HostPolicy;
  readonly docker: DockerEngine;
  readonly volumes: Volumes;
  readonly stacks: Stacks;
  readonly lock: StateLock;
}

async function serve(parts: Parts, deps: AppDeps, stop: AbortSignal): Promise<RunEnd> {
  const { credentials, roots, renewBeforeMs, policy, docker, volumes, stacks, lock } = parts;
  const { clock, log } = deps;
  const reaches = (target: TcpTarget) => permitsTarget(policy, target);
  const context = { docker, volumes, stacks, permitsTarget: reaches, info: { agentVersion: VERSION }, log };
  const dispatcher = new Dispatcher({ policy, handlers: HANDLERS, context, log });
  const idle = idleEntries(policy, POLICY_SUBJECTS);
  if (idle.length > 0) log.warn({ entries: idle }, 'these entries of the policy name nothing that this version knows');
  const unknown = unknownFields(credentials.current().record);
  if (unknown.length > 0) log.warn({ fields: unknown }, 'agent.json has fields that this version does not know');
  const instanceId = randomUUID();
  await firstDockerState(docker, clock);
  // A question that waits for an event would hold up the stop.
  stop.addEventListener('abort', () => feedOf(docker, log).end(), { once: true });
  return await stayConnected(
    {
      ...deps,
      credentials,
      renewer: new Renewer({ ...deps, credentials, renewBeforeMs }),
      controls: trustControls(roots, log),
      onUnverified: () => catchUp(roots, log),
      recover: (why, signal) => {
        const onWait = (detail: string) => lock.update('recovering', detail);
        return recover({ ...deps, credentials, onWait, onUnverified: () => catchUp(roots, log) }, why, signal);
      },
      hello: () => {
        const capabilities = [...dispatcher.capabilities(STREAM_KINDS), trustUpdate.name];
        return { ...helloOf(instanceId, docker, policy, capabilities), denied: dispatcher.denied(STREAM_KINDS) };
      },
      onStream: (stream) => dispatcher.accept(stream),
      onState: (state, detail) => lock.update(state, detail),
      vitals: {
        load: loadavg,
        streams: () => dispatcher.running,
        docker: () => docker.state,
        onDockerState: (listener) => docker.onState(listener),
      },
    },
    stop,
  );
}

function knownRoots(credentials: Credentials, stateDir: string, deps: AppDeps, signal: AbortSignal): KnownRoots {
  const { clock, log, httpsAgent: agent } = deps;
  const fetchBundle = (server: string, maxBytes: number) => fetchUntrusted(server, { agent, signal, maxBytes });
  return new KnownRoots(credentials, { stateDir, clock, log, fetchBundle });
}

/** Starts the polling; a Docker that does not answer at once must not keep the host offline. */
async function firstDockerState(docker: DockerEngine, clock: Clock): Promise<void> {
  const late = new Promise<void>((resolve) => clock.setTimeout(resolve, FIRST_DOCKER_STATE_MS));
  await Promise.race([docker.start(), late]);
}

function helloOf(instanceId: string, docker: DockerEngine, policy: HostPolicy, capabilities: string[]): Hello {
  return {
    versions: [...PROTOCOL_VERSIONS],
    ...hostFacts(),
    instanceId,
    docker: docker.state,
    capabilities,
    policy,
    compression: [...COMPRESSIONS],
  };
}

async function identityIfEnrolled(stateDir: string): Promise<Identity | FairleadError> {
  try {
    return await loadIdentity(stateDir);
  } catch (error) {
    if (isFairleadError(error, 'NOT_FOUND')) return error;
    throw error;
  }
}

/**
 * Takes this host out of the mesh: the server revokes it, then the identity here is deleted; with `local` only here.
 * @throws FairleadError, and leaves everything as it was, when the server cannot be told
 */
export async function unenroll(config: UnenrollConfig, deps: AppDeps): Promise<void> {
  if (!config.local) await tellOfLeaving(config, deps);
  await removeIdentity(config.stateDir);
  await dropKept(join(config.stateDir, VOLUMES_DIRECTORY), deps.clock);
}

async function tellOfLeaving(config: UnenrollConfig, deps: AppDeps): Promise<void> {
  const credentials = await Credentials.load(config.stateDir);
  const docker = { reachable: false, reason: 'this host is leaving' };
  const policy = { allow: [], deny: ['*'] };
  const hello: Hello = {
    ...hostFacts(),
    versions: [...PROTOCOL_VERSIONS],
    instanceId: randomUUID(),
    docker,
    capabilities: [],
    policy,
  };
  try {
    await leaveFollowing(credentials, config.stateDir, hello, deps);
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    const advice =
      'nothing was deleted; with --local the identity is deleted here only, and the host stays on the server';
    throw new FairleadError(error.code, `${error.message}; ${advice}`, { cause: error });
  }
}

/** Leaves; a server that has got another root since this host last spoke to it is followed there first. */
async function leaveFollowing(credentials: Credentials, stateDir: string, hello: Hello, deps: AppDeps): Promise<void> {
  const { httpsAgent, clock, log } = deps;
  const tell = () => leave({ identity: credentials.current(), hello, httpsAgent, clock }, 'unenrolled on the host');
  try {
    await tell();
  } catch (error) {
    if (!(error instanceof UnreachableError) || error.failure !== 'tls') throw error;
    const before = credentials.current().caPem;
    await catchUp(knownRoots(credentials, stateDir, deps, new AbortController().signal), log);
    if (credentials.current().caPem === before) throw error;
    await tell();
  }
}
