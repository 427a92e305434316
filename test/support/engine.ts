/**
 * A Docker Engine of a test's own, which can be stopped, killed and started again: another root of data and another socket
 * than the shared one, a network of its own, no bridge and no rules of iptables. Needs root, as every Engine does.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import type { Server as ListeningSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { dockerAt, type TestDocker } from './docker.ts';
import { Launched } from './launcher.ts';
import { listenIn } from './network.ts';
import { type Cleanup, defer } from './tmp.ts';
import { waitFor } from './wait.ts';

/** Where dockerd may be that no shell of a user looks into. */
const SYSTEM_PATHS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
const ENV = { PATH: [process.env['PATH'], ...SYSTEM_PATHS].join(delimiter) };
const CGROUPS = '/sys/fs/cgroup';
const STOP_MS = 20_000;
/** How long processes that were killed, and what they have mounted, may stay. */
const GONE_MS = 5_000;
const LOOK_MS = 20;
const engines = new Set<TestEngine>();

// A test file that ends early must leave neither processes nor mounts behind.
process.on('exit', () => {
  for (const engine of engines) engine.clear();
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

export class TestEngine {
  readonly docker: TestDocker;
  /** To be given to an agent as `--docker`. */
  readonly socket: string;
  readonly #dir: string;
  /** The last part of the directory's name, which no other Engine has: its processes and cgroups are known by it. */
  readonly #name: string;
  #process: Launched | undefined;

  private constructor(dir: string) {
    this.#dir = dir;
    this.#name = dir.slice(dir.lastIndexOf('/') + 1);
    this.socket = join(dir, 'docker.sock');
    this.docker = dockerAt(this.socket);
  }

  /** Starts one whose containers outlive it; it has TEST_IMAGE. All that it has is gone after the test. */
  static async start(cleanup: Cleanup): Promise<TestEngine> {
    if (process.getuid?.() !== 0) throw new Error('a Docker Engine of its own needs root: run these tests as root');
    const engine = new TestEngine(await mkdtemp(join(tmpdir(), 'fairlead-engine-')));
    engines.add(engine);
    defer(cleanup, () => engine.close());
    writeFileSync(join(engine.#dir, 'daemon.json'), JSON.stringify({ 'live-restore': true }));
    engine.#makeNetwork();
    await engine.up();
    await engine.docker.require();
    return engine;
  }

  /** Where a part of its directory is: `data` has all that it keeps, `exec` what runs. */
  path(part: string): string {
    return join(this.#dir, part);
  }

  /** The process of dockerd, while it runs. */
  get pid(): number {
    return Number(readFileSync(this.path('docker.pid'), 'utf8'));
  }

  /** The file that stands for its network, also while nothing runs in it. */
  get #network(): string {
    return this.path('net');
  }

  /** A dockerd without a bridge removes the interface docker0 of the network that it is in: it must not be the machine's. */
  #makeNetwork(): void {
    writeFileSync(this.#network, '');
    const args = [`--net=${this.#network}`, 'ip', 'link', 'set', 'lo', 'up'];
    const { status, error, stderr } = spawnSync('unshare', args, { env: { ...process.env, ...ENV }, encoding: 'utf8' });
    if (status !== 0) throw new Error(`no network could be made (unshare, ip): ${error?.message ?? stderr}`);
  }

  /** A socket that listens at 127.0.0.1 of its network, where dockerd gets to it; whoever has it closes it. */
  async listen(): Promise<ListeningSocket> {
    return await listenIn(this.#network);
  }

  /** Starts it, also again, and waits until it answers. */
  async up(): Promise<void> {
    const at = (name: string) => this.path(name);
    // One that was killed leaves these behind, and they keep the next one from starting.
    for (const name of ['docker.pid', 'exec/containerd/containerd.pid']) rmSync(at(name), { force: true });
    const dockerd = new Launched(
      'dockerd',
      'nsenter',
      [
        ...[`--net=${this.#network}`, 'dockerd'],
        ...['--data-root', at('data'), '--exec-root', at('exec'), '--pidfile', at('docker.pid')],
        ...['--host', `unix://${this.socket}`, '--config-file', at('daemon.json')],
        ...['--bridge=none', '--iptables=false', '--ip6tables=false', '--storage-driver=vfs'],
        ...['--exec-opt', 'native.cgroupdriver=cgroupfs', '--cgroup-parent', `/${this.#name}`],
      ],
      { env: ENV, input: '' },
    );
    this.#process = dockerd;
    await waitFor('a Docker Engine of its own', async () => (await this.docker.api('GET', '/_ping')).status === 200, {
      context: () => dockerd.transcript().slice(-4_000),
      failed: () => (dockerd.exit === undefined ? undefined : 'it ended'),
    });
  }

  /** Ends dockerd, whose containers run on. */
  async stop(): Promise<void> {
    await this.#process?.stop(STOP_MS);
  }

  /** Kills dockerd, and with it its containerd; its containers run on. */
  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  /** Removes all containers and ends dockerd, and then whatever has stayed. */
  async close(): Promise<void> {
    try {
      if (this.#process?.exit === undefined) await this.#removeContainers();
      await this.kill();
    } finally {
      this.clear();
    }
  }

  /** Ends at once, and at any time, what it has running, mounted and written. */
  clear(): void {
    engines.delete(this);
    const deadline = performance.now() + GONE_MS;
    for (let pids = this.#processes(); pids.length > 0 && performance.now() < deadline; pids = this.#processes()) {
      for (const pid of pids) killIfThere(pid);
      pause(LOOK_MS);
    }
    for (const address of this.#shims()) rmSync(address, { force: true });
    for (const mount of this.#mounts()) spawnSync('umount', ['-l', mount]);
    for (const dir of this.#cgroups()) removeCgroup(dir);
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  async #removeContainers(): Promise<void> {
    const { body } = await this.docker.api('GET', '/containers/json?all=1');
    await Promise.all(body.map(({ Id }: { Id: string }) => this.docker.api('DELETE', `/containers/${Id}?force=1&v=1`)));
  }

  /** Processes of its own, and what runs in its containers. */
  #processes(): number[] {
    const pids = readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 1 && pid !== process.pid);
    return pids.filter((pid) => {
      // A zombie has neither a command line nor a cgroup that matters.
      const command = readIfThere(`/proc/${pid}/cmdline`);
      return command !== '' && (this.#isOwn(command) || this.#isContained(pid));
    });
  }

  /** Whether a command line is one of dockerd, containerd, or the shim of a container: they name its directory. */
  #isOwn(command: string): boolean {
    return (
      /^[^\0]*(?:dockerd|containerd|containerd-shim[^\0/]*|runc|docker-proxy)\0/.test(command) &&
      command.includes(this.#dir)
    );
  }

  #isContained(pid: number): boolean {
    return readIfThere(`/proc/${pid}/cgroup`).includes(`/${this.#name}/`);
  }

  /** The sockets of its containers' shims, which have their place beside those of all Engines. */
  #shims(): string[] {
    const dir = join(this.#dir, 'exec/containerd/daemon/io.containerd.runtime.v2.task/moby');
    const ids = existsSync(dir) ? readdirSync(dir) : [];
    const addresses = ids.map((id) => readIfThere(join(dir, id, 'address')));
    return addresses.filter((address) => address !== '').map((address) => address.replace(/^unix:\/\//, ''));
  }

  /** The innermost first. */
  #mounts(): string[] {
    const points = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '');
    return points.filter((point) => point.startsWith(`${this.#dir}/`)).reverse();
  }

  /** Its part of each hierarchy of cgroups: there is one, or one for each controller. */
  #cgroups(): string[] {
    const roots = existsSync(CGROUPS) ? [CGROUPS, ...readdirSync(CGROUPS).map((name) => join(CGROUPS, name))] : [];
    return roots.map((root) => join(root, this.#name)).filter((dir) => existsSync(dir));
  }
}

/** A cgroup has files that nobody can remove: its directories alone are removed, the inner ones first. */
function removeCgroup(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroup(join(dir, entry.name));
  rmdirSync(dir);
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // it ended meanwhile
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended meanwhile.
  }
}

/** Waits where nothing else may run: as this process ends. */
function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
