/** Hosts whose agent is a small script, releases of such scripts, and a server's end that offers and serves them. */
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import { durableDisk, type UpgradeDisk } from '../../agent/upgrade/files.ts';
import type { OwnProcess } from '../../agent/upgrade/own-process.ts';
import { Replacement } from '../../agent/upgrade/replacement.ts';
import { Upgrader, type UpgraderOptions } from '../../agent/upgrade/upgrader.ts';
import { systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { type Welcome, welcome as welcomeKind } from '../../shared/messages/control.ts';
import { CATALOGUE } from '../../shared/messages/index.ts';
import {
  type AgentUpgradeStatus,
  agentUpgrade,
  agentUpgradeStatus,
  releaseRead,
} from '../../shared/messages/release.ts';
import { greetServer, receiveHello } from '../../shared/mux/handshake.ts';
import { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { Release, SignedRelease } from '../../shared/releases/release.ts';
import { keyIdOf, type ReleaseKeys, signRelease } from '../../shared/releases/signature.ts';
import { memoryPair } from './memory-pair.ts';
import { HELLO, welcomeFrom } from './mux.ts';
import { type Cleanup, tempDir } from './tmp.ts';
import { waitFor } from './wait.ts';

/** What an agent's executable is here: it says what `try` asks for, and watches over nothing. */
export function agentScript(version: string, { docker = false, onTry = '' } = {}): string {
  const answer = JSON.stringify({ try: 1, version, docker });
  return `#!/bin/sh
case "$1" in
  try) ${onTry}
    echo '${answer}' ;;
  watch) echo watching ;;
  *) echo ${version} ;;
esac
`;
}

export interface UpgradeHost {
  readonly executable: string;
  readonly stateDir: string;
  readonly keys: ReleaseKeys;
  readonly privateKey: KeyObject;
}

/** A host whose agent is `version`, and that trusts one key. */
export async function upgradeHost(cleanup: Cleanup, version = '1.0.0'): Promise<UpgradeHost> {
  const dir = await tempDir(cleanup, 'upgrade');
  const executable = join(dir, 'bin', 'fairlead-agent');
  await mkdir(join(dir, 'bin'), { mode: 0o755 });
  await mkdir(join(dir, 'state'), { mode: 0o700 });
  await putExecutable(executable, agentScript(version));
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return { executable, stateDir: join(dir, 'state'), keys: new Map([[keyIdOf(publicKey), publicKey]]), privateKey };
}

export async function putExecutable(path: string, text: string): Promise<void> {
  await writeFile(path, text);
  await chmod(path, 0o755);
}

/** Which files stand in the folder of the executable, and what it is. */
export async function filesOf({ executable }: UpgradeHost): Promise<{ names: string[]; version: string | undefined }> {
  const names = await readdir(join(executable, '..'));
  const text = await readFile(executable, 'utf8');
  return { names: names.sort(), version: /\*\) echo (.*) ;;/.exec(text)?.[1] };
}

/** Nothing stands beside the executable. */
export const ALONE = ['fairlead-agent'];

export interface OfferedRelease {
  readonly release: SignedRelease;
  readonly gz: Buffer;
}

/** A release of `script`, signed by the key that the host trusts unless another is given. */
export function releaseOf(
  host: Pick<UpgradeHost, 'privateKey'>,
  version: string,
  change: Partial<Release> & { script?: string } = {},
): OfferedRelease {
  const { script = agentScript(version), ...fields } = change;
  const executable = Buffer.from(script);
  const release = signRelease(
    {
      ...{ version, sequence: 1, os: process.platform, arch: process.arch, bytes: executable.length },
      sha256: createHash('sha256').update(executable).digest('hex'),
      ...fields,
    },
    host.privateKey,
  );
  return { release, gz: gzipSync(executable) };
}

/** How an agent of the host began, and what it would be replaced by. */
export interface UpgradeAgent {
  readonly upgrader: Upgrader;
  readonly replacement: Replacement;
}

export interface AgentOptions extends Partial<Omit<UpgraderOptions, 'own'>> {
  readonly version?: string;
  readonly disk?: UpgradeDisk;
  readonly settleMs?: number;
  readonly pid?: number;
}

/** What runs on the host now: nothing is replaced really. */
export async function upgradeAgent(host: UpgradeHost, options: AgentOptions = {}): Promise<UpgradeAgent> {
  const { version = '1.0.0', disk = durableDisk, settleMs, pid = process.pid, ...more } = options;
  const log = more.log ?? pino({ level: 'silent' });
  const clock = more.clock ?? systemClock;
  const { stateDir, keys, executable } = host;
  const own = ownProcess(executable, version, pid);
  const replacement = await Replacement.open({
    ...{ stateDir, own, clock, log, disk },
    ...(settleMs === undefined ? {} : { settleMs }),
  });
  const upgrader = new Upgrader({
    ...{ own, stateDir, replacement, keys, clock, log },
    ...{ os: process.platform, arch: process.arch, inability: undefined, random: () => 0 },
    dockerAnswers: () => false,
    holdRenewals: async () => () => undefined,
    ...more,
  });
  return { upgrader, replacement };
}

export function ownProcess(executable: string, version: string, pid = process.pid): OwnProcess {
  return {
    ...{ executable, version, pid, argv0: executable, args: ['run'], env: { PATH: process.env['PATH'] } },
    isLaunched: false,
    execve: () => {
      throw new Error('nothing is replaced in this test');
    },
  };
}

export interface ServedOptions {
  /** What the welcome wishes. */
  readonly wished?: SignedRelease;
  /** What it serves: by the executable's sha256, or by its own hand. */
  readonly files?: readonly OfferedRelease[];
  readonly onRead?: (stream: MuxStream<typeof releaseRead>) => void;
  readonly capabilities?: readonly string[];
}

export interface Served {
  /** What the agent has said, in order. */
  readonly statuses: AgentUpgradeStatus[];
  /** From where it has read what. */
  readonly reads: { sha256: string; offset: number }[];
  offer(release: SignedRelease): void;
  /** Waits until it says that something is at this state. */
  said(state: AgentUpgradeStatus['state'], sequence?: number): Promise<AgentUpgradeStatus>;
  /** The session is lost, as by a network that fails. Resolves once the agent has let go of it. */
  cut(): Promise<void>;
}

/** A session between the agent and a server that is welcomed, until it is cut or the test ends. */
export async function serveUpgrades(
  cleanup: Cleanup,
  { upgrader }: UpgradeAgent,
  options: ServedOptions = {},
): Promise<Served> {
  const link = memoryPair();
  const statuses: AgentUpgradeStatus[] = [];
  const reads: Served['reads'] = [];
  const server: Session = new Session({
    ...{ side: 'server', transport: link.server, catalogue: CATALOGUE, clock: systemClock },
    onStream: (stream) => {
      const read = stream as unknown as MuxStream<typeof releaseRead>;
      reads.push(read.params);
      if (options.onRead !== undefined) options.onRead(read);
      else sendFile(read, options.files ?? []);
    },
    onControl: (kind, value) => {
      if (kind.code === agentUpgradeStatus.code) statuses.push(value as AgentUpgradeStatus);
    },
  });
  const session: Session = new Session({
    ...{ side: 'agent', transport: link.agent, catalogue: CATALOGUE, clock: systemClock },
    onStream: (stream) => stream.reset(new FairleadError('UNSUPPORTED', 'no')),
    onControl: (kind, value) => upgrader.controls.get(kind.code)?.(value, session),
  });
  const capabilities = [...(options.capabilities ?? [agentUpgradeStatus.name, releaseRead.name])];
  const greeted = greetServer(session, HELLO);
  await receiveHello(server);
  const { wished: upgrade } = options;
  const said: Welcome = { ...welcomeFrom(server), capabilities, ...(upgrade === undefined ? {} : { upgrade }) };
  server.sendControl(welcomeKind, said);
  const welcome = await greeted;
  await upgrader.attach({ session, welcome });
  const cut = async () => {
    session.destroy(new FairleadError('STREAM_INTERRUPTED', 'cut'));
    server.destroy(new FairleadError('STREAM_INTERRUPTED', 'cut'));
    await upgrader.detach();
  };
  cleanup.after(cut);
  return {
    statuses,
    reads,
    cut,
    offer: (release) => server.sendControl(agentUpgrade, { release }),
    said: (state, sequence) =>
      waitFor(
        `the agent to say ${state}`,
        () => statuses.find((each) => each.state === state && (sequence === undefined || each.sequence === sequence)),
        { context: () => JSON.stringify(statuses) },
      ),
  };
}

/** Answers `release.read` as a server does. */
export function sendFile(stream: MuxStream<typeof releaseRead>, files: readonly OfferedRelease[]): void {
  const file = files.find(({ release }) => release.sha256 === stream.params.sha256);
  if (file === undefined) {
    stream.reset(new FairleadError('NOT_FOUND', 'there is no such release'));
    return;
  }
  stream.sendReply({ totalBytes: file.gz.length });
  stream.bytes.on('error', () => undefined).end(file.gz.subarray(stream.params.offset));
}
