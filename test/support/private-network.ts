/** Networks of machines that are containers without any: pairs of interfaces, and nothing behind them. */
import { execFile } from 'node:child_process';
import { delimiter } from 'node:path';
import { promisify } from 'node:util';
import type { Machine } from './machines.ts';

/** Where nsenter and ip may be that no shell of a user looks into. */
const PATH = [process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter);

/** The address of a hub, which all that are wired to it reach, each by a pair of its own. */
export const HUB_ADDRESS = '10.77.0.1';

/** Gives `hub` its address, and each of `others` a pair of interfaces that leads there and nowhere else. Needs root. */
export async function wire(hub: Machine, others: readonly Machine[]): Promise<void> {
  const hubNetwork = await hub.network();
  await ip(hubNetwork, 'link set lo up', `addr add ${HUB_ADDRESS}/32 dev lo`);
  for (const [index, other] of others.entries()) {
    const network = await other.network();
    const [near, far] = [`10.77.${index + 1}.1`, `10.77.${index + 1}.2`];
    const pid = /^\/proc\/(\d+)\//.exec(network)?.[1];
    await ip(hubNetwork, `link add eth${index} type veth peer name eth0 netns ${pid}`);
    await ip(hubNetwork, `addr add ${near}/24 dev eth${index}`, `link set eth${index} up`);
    await ip(network, 'link set lo up', `addr add ${far}/24 dev eth0`, 'link set eth0 up');
    await ip(network, `route add ${HUB_ADDRESS}/32 via ${near}`);
  }
}

/** @param network a file that stands for it */
async function ip(network: string, ...commands: readonly string[]): Promise<void> {
  for (const command of commands) {
    const args = [`--net=${network}`, 'ip', ...command.split(' ')];
    await promisify(execFile)('nsenter', args, { env: { ...process.env, PATH } });
  }
}
