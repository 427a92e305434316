/** A transfer as it is asked for, and as it stands. */
import type { VolumeEnd, VolumeTransferRow } from '../store/volume-transfers.ts';
import type { Step, TransferJob } from './transfer-job.ts';

export interface TransferRequest {
  readonly from: VolumeEnd;
  readonly to: VolumeEnd;
  /** What is in the target already gives way. */
  readonly replaces: boolean;
  /** Though containers use one of the volumes. */
  readonly forced: boolean;
}

/** A transfer as it stands. */
export interface VolumeTransfer extends VolumeTransferRow {
  readonly step: Step | undefined;
  /** Bytes a second. */
  readonly rate: number | undefined;
}

/** @param job of the transfer, unless that has ended */
export function viewOf(row: VolumeTransferRow, job: TransferJob | undefined): VolumeTransfer {
  return { ...(job?.row ?? row), step: job?.step, rate: job?.rate };
}

export function isSameEnd(a: VolumeEnd, b: VolumeEnd): boolean {
  return a.hostId === b.hostId && a.volume === b.volume;
}
