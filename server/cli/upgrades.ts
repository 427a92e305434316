/** Upgrades of hosts' agents, as they are told and waited for. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ApiClient, path } from './api-client.ts';
import type { HostUpgradeView } from './api-types.ts';
import { CliError } from './errors.ts';
import { bytes } from './format.ts';
import type { CliIo } from './io.ts';

/** From one look to the next. */
const LOOK_MS = 1_000;

/** How far it is, in a few words. */
export function upgradeText({ able, reason, state, error, receivedBytes, totalBytes }: HostUpgradeView): string {
  if (state === null) return able === false ? `cannot replace itself: ${reason ?? 'it does not say why'}` : '';
  if (error !== null) return `${state}: ${error.detail} (${error.code})`;
  if (state !== 'downloading' || receivedBytes === null) return state;
  return `${state} ${bytes(receivedBytes)}${totalBytes === null ? '' : ` of ${bytes(totalBytes)}`}`;
}

/** Waits for the end of a host's upgrade. @throws CliError when `deadline` (ms since 1970) has passed */
export async function untilUpgraded(
  api: ApiClient,
  io: CliIo,
  host: string,
  deadline: number,
): Promise<HostUpgradeView> {
  for (;;) {
    const upgrade = await api.get<HostUpgradeView>(path`/api/v1/hosts/${host}/upgrade`);
    if (upgrade.state === null) throw new CliError('what was wished was taken back');
    if (upgrade.endedAt !== null) return upgrade;
    if (io.now() >= deadline) throw new CliError(`it has not ended in time: it is ${upgradeText(upgrade)}`);
    await sleep(LOOK_MS);
  }
}
