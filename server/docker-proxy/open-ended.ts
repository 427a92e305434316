/** Calls of Docker's API that go on until somebody ends them. */
import type { ClientCall } from './client-call.ts';

const ALWAYS: ReadonlySet<string> = new Set(['host.events', 'container.wait']);
/** Where the connection becomes that of a process. */
const PROCESSES: ReadonlySet<string> = new Set(['container.attach', 'container.exec.open']);
const NO: ReadonlySet<string> = new Set(['0', 'false', 'no', 'none', '']);

/** Whether a call has no end of its own: to wait for it is in vain. @param isUpgrade whether its connection is handed over */
export function isOpenEnded({ target, call }: Pick<ClientCall, 'target' | 'call'>, isUpgrade: boolean): boolean {
  const query = new URLSearchParams(target.split('?').slice(1).join('?'));
  if (ALWAYS.has(call.name)) return true;
  if (PROCESSES.has(call.name)) return isUpgrade;
  // As Docker reads them: absent, the one is off and the other on.
  if (call.name === 'container.log.stream') return !NO.has((query.get('follow') ?? '').toLowerCase());
  return call.name === 'container.stats' && !NO.has((query.get('stream') ?? '1').toLowerCase());
}
