/** How many transfers run at once. */
import type { VolumeTransferRow } from '../store/volume-transfers.ts';

/** Of one host, at either end, and of all. */
const MAX_RUNNING_OF_HOST = 2;
const MAX_RUNNING = 8;

/** Whether one more may run beside those that do. */
export function hasRoom(row: VolumeTransferRow, running: readonly VolumeTransferRow[]): boolean {
  if (running.length >= MAX_RUNNING) return false;
  return [row.from.hostId, row.to.hostId].every((hostId) => {
    const ofHost = running.filter(({ from, to }) => from.hostId === hostId || to.hostId === hostId);
    return ofHost.length < MAX_RUNNING_OF_HOST;
  });
}
