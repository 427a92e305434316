/** The running agent: constructs the few things that live long, and ends them in order. */
import { randomUUID } from 'node:crypto';
import type { Agent } from 'node:https';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Clock } from '../shared/clock.ts';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import type { Hello, HostPolicy } from '../shared/messages/control.ts';
import { PROTOCOL_VERSIONS, STREAM_KINDS } from '../shared/messages/index.ts';
import { agentUpgrade } from '../shared/messages/release.ts';
import { trustUpdate } from '../shared/messages/trust.ts';
import { fetchUntrusted, UnreachableError } from '../shared/pinned-http.ts';
import type { ReleaseKeys } from '../shared/releases/signature.ts';
import { permitsTarget, type TcpTarget } from '../shared/tcp-targets.ts';
import { VERSION } from '../shared/version.ts';
import { helloOf, hostFacts, POLICY_SUBJECTS, policyOf } from './about-host.ts';
import type { RunConfig, UnenrollConfig } from './config.ts';
import { DockerEngine } from './docker/engine.ts';
import { feedOf } from './docker/event-feed.ts';
import { EXECS_DIRECTORY, LeftExecs } from './docker/left-execs.ts';
import { HANDLERS } from './handlers/index.ts';
import type { HawserConfig } from './hawser/config.ts';
import { Hawser } from './hawser/hawser.ts';
import { Credentials } from './identity/credentials.ts';
import { KnownRoots } from './identity/known-roots.ts';
import { recover } from './identity/recover.ts';
import { type Identity, loadIdentity, removeIdentity, unknownFields } from './identity/state-dir.ts';
import { type ProxyNote, StateLock } from './identity/state-lock.ts';
import { Dispatcher } from './link/dispatch.ts';
import { leave } from './link/leave.ts';
import { EXIT } from './link/outcome.ts';
import { Renewer } from './link/renew.ts';
import { type RunEnd, stayConnected } from './link/stay-connected.ts';
import { catchUp, trustControls } from './link/trust-controls.ts';
import { dropFilePages } from './memory/file-pages.ts';
import { idleEntries } from './policy/policy.ts';
import { Stacks } from './stacks/stacks.ts';
import { inability } from './upgrade/ability.ts';
import { replaceProcess } from './upgrade/replace.ts';
import { Replacement, type ReplacementOptions } from './upgrade/replacement.ts';
import { Upgrader } from './upgrade/upgrader.ts';
import { dropKept, VOLUMES_DIRECTORY, Volumes } from './volumes/volumes.ts';

/** How long the first connection waits for the first word on Docker, which goes into the hello. */
const FIRST_DOCKER_STATE_MS = 1_000;

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

/** What a running agent has besides. */
export interface RunDeps extends AppDeps {
  /** Absent: the agent is a part of another process, and no release takes its place. */
  readonly upgrades?: UpgradeDeps;
  /** The proxy that `httpsAgent` goes through, for whoever looks at this host. */
  readonly proxy?: ProxyNote;
}

export interface UpgradeDeps extends Pick<ReplacementOptions, 'own' | 'disk' | 'settleMs'> {
  /** What releases of the agent may be signed by. */
  readonly keys: ReleaseKeys;
  readonly trialMs?: number;
}

const NO_UPGRADES: UpgradeDeps = {
  keys: new Map(),
  own: {
    ...{ executable: undefined, version: VERSION, pid: process.pid, argv0: '', args: [], env: {}, isLaunched: false },
    execve: () => {
      throw new Error('this process is not to be replaced');
    },
  },
};

type FullConfig = RunConfig & { readonly hawser?: HawserConfig };

/** How a run ends. */
export interface AgentEnd extends RunEnd {
  /** Puts another executable in the place of this process, which has let go of everything. @throws what keeps it from that */
  readonly replace?: () => Promise<never>;
}

/**
 * Runs the agent until `stop` fires or it must not go on.
 * @throws FairleadError VALIDATION (damaged state, bad policy or address), CONFLICT (another agent runs here, a port is in use)
 */
export async function runAgent(config: FullConfig, deps: RunDeps, stop: AbortSignal): Promise<AgentEnd> {
  const identity = await identityIfEnrolled(config.stateDir);
  if (identity instanceof FairleadError) return { exitCode: EXIT.notEnrolled, reason: identity.message };
  const policy = policyOf(identity.record, config);
  const { stateDir } = config;
  const lock = StateLock.claim(stateDir, 'connecting', { log: deps.log, now: deps.clock.now });
  try {
    lock.note({ dockerAddress: config.docker, ...(deps.proxy && { proxy: deps.proxy }) });
    const { own, ...upgrades } = deps.upgrades ?? NO_UPGRADES;
    const replacement = await Replacement.open({ ...deps, ...upgrades, own, stateDir });
    const callOff = replacement.insist(() => {
      deps.log.warn('making way for another executable took too long');
      lock.release();
      void replaceProcess(replacement, own, deps.clock);
    });
    try {
      const ending = AbortSignal.any([stop, replacement.replacing]);
      const end = ending.aborted
        ? { exitCode: EXIT.stopped, reason: 'stopped' }
        : await runParts(config, { identity, policy, lock, replacement }, deps, ending);
      const isReplaced = await replacement.conclude(end.reason, stop.aborted);
      return isReplaced ? { ...end, replace: () => replaceProcess(replacement, own, deps.clock) } : end;
    } finally {
      callOff();
    }
  } finally {
    lock.release();
  }
}

interface Started {
  readonly identity: Identity;
  readonly policy: HostPolicy;
  readonly lock: StateLock;
  readonly replacement: Replacement;
}

/** Constructs what serves, has it serve, and ends it. */
async function runParts(config: FullConfig, started: Started, deps: RunDeps, stop: AbortSignal): Promise<RunEnd> {
  const { identity, policy } = started;
  const credentials = await Credentials.load(config.stateDir);
  const { renewBeforeMs } = config;
  const execs = await LeftExecs.load(join(config.stateDir, EXECS_DIRECTORY), deps.log);
  const docker = new DockerEngine({ socket: config.docker, policy, clock: deps.clock, log: deps.log, execs });
  docker.onState((state) => {
    if (state.reachable) void execs.end(docker);
    started.lock.note({ docker: state });
  });
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
      const { stateDir } = config;
      return await serve(
        { ...started, stateDir, credentials, roots, renewBeforeMs, docker, volumes, stacks },
        deps,
        stop,
      );
    } finally {
      await hawser.close();
      volumes.close();
      await stacks.close();
    }
  } finally {
    docker.close();
  }
}

interface Parts extends Started {
  readonly stateDir: string;
  readonly credentials: Credentials;
  readonly roots: KnownRoots;
  readonly renewBeforeMs: number;
  readonly docker: DockerEngine;
  readonly volumes: Volumes;
  readonly stacks: Stacks;
}

async function serve(parts: Parts, deps: RunDeps, stop: AbortSignal): Promise<RunEnd> {
  const { credentials, roots, renewBeforeMs, policy, docker, volumes, stacks, lock } = parts;
  const { clock, log } = deps;
  const reaches = (target: TcpTarget) => permitsTarget(policy, target);
  const context = { docker, volumes, stacks, permitsTarget: reaches, info: { agentVersion: VERSION }, log };
  const dispatcher = new Dispatcher({ policy, handlers: HANDLERS, context, log });
  const idle = idleEntries(policy, POLICY_SUBJECTS);
  if (idle.length > 0) log.warn({ entries: idle }, 'these entries of the policy name nothing that this version knows');
  const unknown = unknownFields(credentials.current().record);
  if (unknown.length > 0) log.warn({ fields: unknown }, 'agent.json has fields that this version does not know');
  dropFilePages({ clock, log }, stop);
  const instanceId = randomUUID();
  await firstDockerState(docker, clock);
  const renewer = new Renewer({
    ...{ ...deps, credentials, renewBeforeMs },
    onDue: (at) => lock.note({ renewsAt: new Date(at).toISOString() }),
  });
  const upgrader = await upgraderOf(parts, renewer, deps);
  // A question that waits for an event would hold up the stop.
  stop.addEventListener('abort', () => feedOf(docker, log).end(), { once: true });
  return await stayConnected(
    {
      ...deps,
      credentials,
      renewer,
      upgrader,
      controls: trustControls(roots, log),
      onUnverified: () => catchUp(roots, log),
      recover: (why, signal) => {
        const onWait = (detail: string) => lock.update('recovering', detail);
        return recover({ ...deps, credentials, onWait, onUnverified: () => catchUp(roots, log) }, why, signal);
      },
      hello: () => {
        const capabilities = [...dispatcher.capabilities(STREAM_KINDS), trustUpdate.name, agentUpgrade.name];
        const hello = helloOf(instanceId, docker.state, policy, capabilities);
        return { ...hello, denied: dispatcher.denied(STREAM_KINDS), upgrade: upgrader.ability() };
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

async function upgraderOf(parts: Parts, renewer: Renewer, deps: RunDeps): Promise<Upgrader> {
  const { docker, policy, replacement, stateDir, lock } = parts;
  const { log } = deps;
  const { own, keys, trialMs } = deps.upgrades ?? NO_UPGRADES;
  const reason = replacement.damage ?? (await inability(own, { keys, policy }));
  if (reason !== undefined) log.debug({ reason }, 'this agent cannot replace itself');
  lock.note({ releases: { keys: [...keys.keys()], ...(reason === undefined ? {} : { inability: reason }) } });
  return new Upgrader({
    ...deps,
    ...(trialMs === undefined ? {} : { trialMs }),
    own,
    stateDir,
    replacement,
    keys,
    os: process.platform,
    arch: process.arch,
    inability: reason,
    dockerAnswers: () => docker.state.reachable,
    holdRenewals: () => renewer.hold(),
  });
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
