/** What is told of hosts' upgrades: events for all who follow them, rows of the audit log for how they end, and the log. */
import type { Logger } from 'pino';
import type { Audit } from '../audit/audit.ts';
import type { HostUpgradeRow } from '../store/host-upgrades.ts';
import { hasEnded } from './transitions.ts';

export interface UpgradeNewsDeps {
  readonly audit: Pick<Audit, 'recordOrLog'>;
  readonly log: Pick<Logger, 'info'>;
  /** Tells the world. */
  tell(event: { hostId: string; type: string; attributes: Record<string, string> }): void;
}

export class UpgradeNews {
  readonly #deps: UpgradeNewsDeps;

  constructor(deps: UpgradeNewsDeps) {
    this.#deps = deps;
  }

  offered(row: HostUpgradeRow): void {
    this.#tell(row, 'upgrade.offered');
  }

  /** @param before as it was until now */
  changed(before: HostUpgradeRow, row: HostUpgradeRow): void {
    const { hostId, to: version, sequence, state, code, detail } = row;
    this.#deps.log.info({ hostId, version, sequence, state, code, detail }, 'the upgrade of a host goes on');
    if (before.state === 'offered' && !hasEnded(state)) this.#tell(row, 'upgrade.started');
    if (!hasEnded(state)) return;
    this.#tell(row, `upgrade.${state}`);
    void this.#recordEnd(row);
  }

  #tell({ hostId, from, to, sequence, code, detail, rolloutId }: HostUpgradeRow, type: string): void {
    const attributes: Record<string, string> = { from, to, sequence: String(sequence) };
    if (code !== undefined) attributes['code'] = code;
    if (detail !== undefined) attributes['reason'] = detail;
    if (rolloutId !== undefined) attributes['rollout'] = rolloutId;
    this.#deps.tell({ hostId, type, attributes });
  }

  async #recordEnd({ hostId, from, to, sequence, state, code, detail: reason }: HostUpgradeRow): Promise<void> {
    const result = state === 'done' ? 'ok' : state === 'failed' ? 'failed' : 'refused';
    const entry = { actor: `host:${hostId}`, action: `host.upgrade.${state}`, target: hostId };
    await this.#deps.audit.recordOrLog({ ...entry, result, detail: { from, to, sequence, code, reason } });
  }
}
