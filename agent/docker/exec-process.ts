/**
 * Ends the process of an exec. Docker has no call for that: closing the connection leaves the process running.
 *
 * The process is killed from outside, as one of the host. That needs an agent that sees the host's processes (not one
 * in a container with a pid namespace of its own) and may signal them (root, or the same user), and a runtime whose
 * containers are processes of the host (not a virtual machine). Where it is not so, `endProcess` answers false.
 */
import { readdir, readFile } from 'node:fs/promises';
import type { Clock } from '../../shared/clock.ts';
import { sleep } from '../../shared/sleep.ts';

export interface ExecProcess {
  /** As the Engine sees it. */
  readonly pid: number;
  /** The full id of its container. */
  readonly containerId: string;
  /** The container's first process, as the Engine sees it; 0: not running. */
  readonly containerPid: number;
}

/** How long the process may take to end by itself after SIGHUP. */
const HANGUP_MS = 250;
const LOOK_EVERY_MS = 10;
/** How many processes are looked at at once. */
const LOOK_AT_ONCE = 64;

interface Found {
  readonly pid: number;
  readonly session: number;
  /** Clock ticks since boot: with the pid it names one process for good. */
  readonly startTime: string;
}

/**
 * Ends the exec's process and all of its session (which the runtime makes for each exec): SIGHUP, then SIGKILL.
 * @returns whether the process is, or already was, gone; false where it cannot be reached from here
 */
export async function endProcess(exec: ExecProcess, clock: Clock): Promise<boolean> {
  const leader = await findProcess(exec.pid);
  // Nothing but a process that is certainly this container's is signalled, and never the container's own first one
  // (a runtime with virtual machines names one and the same process for all).
  if (leader === undefined || exec.pid === exec.containerPid || !(await isIn(exec.pid, exec.containerId))) return false;
  const members = await membersOf(leader, exec.containerId);
  if (!members.every((member) => signal(member.pid, 'SIGHUP'))) return false;
  for (let waited = 0; waited < HANGUP_MS; waited += LOOK_EVERY_MS) {
    if ((await living(members)).length === 0) return true;
    await sleep(LOOK_EVERY_MS, clock);
  }
  // Looked up anew: a shell may have started one more in the meantime.
  const late = await membersOf(leader, exec.containerId);
  for (const member of await living([...members, ...late])) signal(member.pid, 'SIGKILL');
  return true;
}

/** @returns false when it may not be signalled; a process that has gone counts as signalled */
function signal(pid: number, name: 'SIGHUP' | 'SIGKILL'): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** The leader and the processes of its session that are in the container. */
async function membersOf(leader: Found, containerId: string): Promise<Found[]> {
  const members = [leader];
  if (leader.session !== leader.pid) return members;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  for (let at = 0; at < pids.length; at += LOOK_AT_ONCE) {
    const some = await Promise.all(pids.slice(at, at + LOOK_AT_ONCE).map(findProcess));
    for (const found of some) {
      if (found === undefined || found.session !== leader.pid || found.pid === leader.pid) continue;
      if (await isIn(found.pid, containerId)) members.push(found);
    }
  }
  return members;
}

async function living(processes: readonly Found[]): Promise<Found[]> {
  const now = await Promise.all(processes.map(({ pid }) => findProcess(pid)));
  return processes.filter((process, index) => now[index]?.startTime === process.startTime);
}

/** A process that lives; a zombie counts as gone. */
async function findProcess(pid: number): Promise<Found | undefined> {
  const stat = await readProc(pid, 'stat');
  // The command's name, in brackets, may hold anything; the fields stand behind its last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, , , session] = fields;
  const startTime = fields[19];
  if (state === 'Z' || state === 'X' || session === undefined || startTime === undefined) return undefined;
  return { pid, session: Number(session), startTime };
}

async function isIn(pid: number, containerId: string): Promise<boolean> {
  return containerId.length === 64 && (await readProc(pid, 'cgroup')).includes(containerId);
}

/** A file of /proc, empty when the process is not there (any more). */
async function readProc(pid: number, file: 'stat' | 'cgroup'): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/${file}`, 'latin1');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return '';
    throw error;
  }
}
