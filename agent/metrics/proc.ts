/** What Linux counts in /proc, read from its text. */
/** Times since the boot, all in one unit, whichever. */
export interface CpuTimes {
  readonly user: number;
  readonly system: number;
  readonly idle: number;
  readonly iowait: number;
  readonly steal: number;
}

export interface InterfaceBytes {
  readonly received: number;
  readonly sent: number;
}

/**
 * What repeats the bytes of others: loopback, bridges, the ends of containers' cables, tunnels, bonds and VLANs, whose
 * bytes cross a network card beside them.
 */
const REPEATING =
  /^(?:lo|docker\d|docker_|br-|virbr|lxcbr|cni|flannel|cali|cilium|veth|vnet|ifb|dummy|tun|tap|wg|tailscale|zt|sit|gre|ip6tnl|bond|team)|[.@:]/;

/** /proc/stat: the times of each core by its number. Undefined for what is not that file. */
export function parseCpuTimes(text: string): Map<string, CpuTimes> | undefined {
  const cores = new Map<string, CpuTimes>();
  for (const [, core = '', rest = ''] of text.matchAll(/^cpu(\d+) ([\d ]+)$/gm)) {
    const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = rest
      .trim()
      .split(/ +/)
      .map(Number);
    // What guests take is in the times of users already.
    cores.set(core, { user: user + nice, system: system + irq + softirq, idle, iowait, steal });
  }
  return cores.size === 0 ? undefined : cores;
}

/** /proc/net/dev: the bytes of each interface that stands for a network card. */
export function parseInterfaces(text: string): Map<string, InterfaceBytes> {
  const interfaces = new Map<string, InterfaceBytes>();
  for (const line of text.split('\n')) {
    const [, name = '', rest = ''] = /^\s*(\S+):\s*([\d\s]+)$/.exec(line) ?? [];
    const counts = rest.trim().split(/\s+/).map(Number);
    const [received, sent] = [counts[0], counts[8]];
    if (name === '' || REPEATING.test(name) || received === undefined || sent === undefined) continue;
    interfaces.set(name, { received, sent });
  }
  return interfaces;
}
