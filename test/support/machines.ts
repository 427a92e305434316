/** Clean machines for installers, as containers: one for each service manager, with Docker's socket and this host's network. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { DOCKER_SOCKET, dockerApi, IDLE, testContainer } from './docker.ts';
import { BUSYBOX_IMAGE, DEBIAN_IMAGE } from './roots.ts';
import type { Cleanup } from './tmp.ts';
import { waitFor } from './wait.ts';

const run = promisify(execFile);
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const BOOT_MS = 30_000;

/** By what starts services there: `busybox` has nothing that does, as `none`, and BusyBox in place of Debian's tools. */
export type MachineKind = 'none' | 'openrc' | 'systemd' | 'busybox';

export interface Machine {
  readonly kind: MachineKind;
  /** As root, by `sh -c`. */
  sh(script: string, user?: string): Promise<{ code: number; out: string }>;
  /** Its network, as a file. */
  network(): Promise<string>;
}

interface Start {
  readonly image: string;
  readonly cmd: readonly string[];
  readonly host?: Record<string, unknown>;
  /** Whether it has booted. */
  readonly booted?: string;
}

const STARTS: Record<MachineKind, Start> = {
  none: { image: DEBIAN_IMAGE, cmd: IDLE },
  busybox: { image: BUSYBOX_IMAGE, cmd: IDLE },
  openrc: {
    image: DEBIAN_IMAGE,
    cmd: ['sh', '-c', `openrc sysinit && openrc boot && openrc default && touch /run/booted; ${IDLE[2]}`],
    host: { Tmpfs: { '/run': '' } },
    booted: 'test -e /run/booted',
  },
  systemd: {
    image: DEBIAN_IMAGE,
    // With one hierarchy of cgroups its mount is read-only at first; with several of them systemd does without.
    cmd: ['sh', '-c', 'mount -o remount,bind,rw /sys/fs/cgroup; exec /lib/systemd/systemd'],
    host: {
      Tmpfs: { '/run': '', '/tmp': '' },
      CapAdd: ['SYS_PTRACE', 'SYS_ADMIN'],
      SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
      CgroupnsMode: 'private',
    },
    booted: 'systemctl is-active --quiet multi-user.target',
  },
};

export interface MachineOptions {
  /** Docker's mode of its network; this host's unless given. */
  readonly network?: string;
  /** As Docker's `Binds`. */
  readonly binds?: readonly string[];
}

/** Starts one and waits until it has booted; gone after the test. The images must be there. */
export async function startMachine(
  cleanup: Cleanup,
  kind: MachineKind,
  { network = 'host', binds = [] }: MachineOptions = {},
): Promise<Machine> {
  const { image, cmd, host, booted } = STARTS[kind];
  const { gid } = await stat(DOCKER_SOCKET);
  const { name } = await testContainer(cleanup, {
    cmd: [...cmd],
    env: ['container=docker'],
    config: {
      Image: image,
      HostConfig: {
        NetworkMode: network,
        Binds: [`${DOCKER_SOCKET}:/run/docker.sock`, ...binds],
        // Root sees all processes, as outside of containers.
        CapAdd: ['SYS_PTRACE'],
        ...host,
      },
    },
  });
  const sh: Machine['sh'] = async (script, user = 'root') => {
    const args = ['-H', `unix://${DOCKER_SOCKET}`, 'exec', '-u', user, name, 'sh', '-c', script];
    const { stdout, stderr, code } = await run('docker', args, { maxBuffer: MAX_OUTPUT_BYTES }).then(
      (ended) => ({ ...ended, code: 0 }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );
    return { code, out: stdout + stderr };
  };
  if (booted !== undefined) {
    await waitFor(`a machine with ${kind}`, async () => (await sh(booted)).code === 0, {
      timeoutMs: BOOT_MS,
      everyMs: 200,
    });
  }
  await sh(`groupadd -g ${gid} docker`);
  return {
    kind,
    sh,
    network: async () => `/proc/${(await dockerApi('GET', `/containers/${name}/json`)).body.State.Pid}/ns/net`,
  };
}

/** What a machine is made of; lists of users of before, and what systemd keeps of its runs, do not count. */
export async function contentOf(machine: Machine): Promise<string[]> {
  const { out } = await machine.sh(
    "find / -xdev -path /sites -prune -o -path /data -prune -o ! -type d ! -path '/var/lib/systemd/*' ! -path '/var/log/journal/*' ! -name '*-' -print; " +
      'find / -xdev -path /sites -prune -o -path /data -prune -o -name "*fairlead*" -print; cat /etc/passwd /etc/group /etc/shadow; ls -A /run | grep fairlead',
  );
  return out.split('\n');
}

/** Fails unless a machine is made of what it was made of before. */
export async function assertUnchanged(machine: Machine, before: readonly string[]): Promise<void> {
  const now = await contentOf(machine);
  const added = now.filter((line) => !before.includes(line));
  const removed = before.filter((line) => !now.includes(line));
  assert.deepEqual({ added, removed }, { added: [], removed: [] });
}
