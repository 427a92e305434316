/** What becomes of the upgrade of a host by what its agent says. Pure. */
import type { Hello } from '../../shared/messages/control.ts';
import { type AgentUpgradeStatus, agentUpgrade } from '../../shared/messages/release.ts';
import type { HostUpgradeRow, HostUpgradeState } from '../store/host-upgrades.ts';

/** What changes of a row. */
export type Outcome = Pick<HostUpgradeRow, 'state' | 'code' | 'detail'>;

const ENDS: ReadonlySet<HostUpgradeState> = new Set(['done', 'failed', 'refused']);

export function hasEnded(state: HostUpgradeState): boolean {
  return ENDS.has(state);
}

/** What a status makes of a row; undefined if it says nothing new, or nothing that was asked for. */
export function afterStatus(row: HostUpgradeRow, status: AgentUpgradeStatus): Outcome | undefined {
  // Who has not been offered anything has nothing to say of it.
  if (row.sequence !== status.sequence || row.state === 'wished') return undefined;
  const { state, code, detail } = status;
  if (row.state === state) return undefined;
  // What has ended is over, but for what the host found out only later: that it runs after all, or that it does not.
  if (hasEnded(row.state) && (!hasEnded(state) || state === 'refused')) return undefined;
  return { state, code: state === 'done' ? undefined : code, detail: state === 'done' ? undefined : detail };
}

/** What a hello makes of a row that has not ended; undefined: nothing. */
export function afterHello(row: HostUpgradeRow, hello: Hello): Outcome | undefined {
  if (hello.agentVersion === row.to) return { state: 'done', code: undefined, detail: undefined };
  if (row.state !== 'wished') return undefined;
  const { upgrade } = hello;
  if (upgrade === undefined || !hello.capabilities.includes(agentUpgrade.name)) {
    return { state: 'refused', code: 'UNSUPPORTED', detail: 'the agent is too old to replace itself' };
  }
  if (!upgrade.able)
    return { state: 'refused', code: 'CONFLICT', detail: upgrade.reason ?? 'it cannot replace itself' };
  if (upgrade.refused?.includes(row.sequence) !== true) return undefined;
  return { state: 'refused', code: 'CONFLICT', detail: 'the agent has tried this release in vain before' };
}

/** Whether a hello's agent takes the offer of a row that has not ended. */
export function takesOffer(row: HostUpgradeRow, { upgrade, capabilities }: Hello): boolean {
  return upgrade?.able === true && capabilities.includes(agentUpgrade.name) && !upgrade.refused?.includes(row.sequence);
}
