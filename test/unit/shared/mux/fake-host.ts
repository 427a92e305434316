/** A session as one stream sees it, whose scheduler and accounts lie open. */
import type { FairleadError } from '../../../../shared/errors.ts';
import type { Deflation } from '../../../../shared/mux/deflate.ts';
import type { Flow, OutFrame } from '../../../../shared/mux/scheduler.ts';
import { DEFAULT_LIMITS, type SessionLimits } from '../../../../shared/mux/session-limits.ts';
import type { StreamHost } from '../../../../shared/mux/stream-host.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

export class FakeHost implements StreamHost {
  readonly clock = new FakeClock();
  readonly limits: SessionLimits;
  payloadBytes: number;
  deliveryRate: number | undefined;
  roundTripMs: number | undefined;
  deflation: Deflation | undefined;
  readonly woken = new Set<Flow>();
  readonly control: OutFrame[] = [];
  readonly signals: OutFrame[] = [];
  readonly resets: [id: number, error: FairleadError][] = [];
  readonly releases: [id: number, error: FairleadError | undefined, by: string][] = [];
  controlFrames = 0;
  starvedMs = 0;
  measurements = 0;
  windowBytes = 0;
  queuedBytes = 0;
  assemblyBytes = 0;
  assemblyRoom = Number.POSITIVE_INFINITY;

  constructor(limits: Partial<SessionLimits> = {}) {
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    this.payloadBytes = this.limits.payloadBytes;
  }

  get maxWindow(): number {
    return this.limits.budgetBytes;
  }

  get windowRoom(): number {
    return this.limits.budgetBytes - this.windowBytes;
  }

  wake(flow: Flow): void {
    this.woken.add(flow);
  }

  queueControl(frame: OutFrame): void {
    this.control.push(frame);
  }

  queueCredit(frame: OutFrame): void {
    this.control.push(frame);
  }

  queueSignal(frame: OutFrame): void {
    this.signals.push(frame);
  }

  hasControlRoom(): boolean {
    return true;
  }

  countStarved(ms: number): void {
    this.starvedMs += ms;
  }

  measureRoundTrip(): void {
    this.measurements += 1;
  }

  countWindow(bytes: number): void {
    this.windowBytes += bytes;
  }

  countQueued(bytes: number): void {
    this.queuedBytes += bytes;
  }

  countAssembly(bytes: number): boolean {
    if (bytes > 0 && this.assemblyBytes + bytes > this.assemblyRoom) return false;
    this.assemblyBytes += bytes;
    return true;
  }

  countControlFrame(): void {
    this.controlFrames += 1;
  }

  answered(): void {
    // Only a session keeps count of the unanswered.
  }

  sendReset(id: number, error: FairleadError): void {
    this.resets.push([id, error]);
  }

  released(id: number, error: FairleadError | undefined, by: 'local' | 'remote'): void {
    this.releases.push([id, error, by]);
  }
}

/** A frame as it would cross the wire. */
export function wire(frame: OutFrame): Buffer {
  return Buffer.concat([frame.head, frame.body ?? new Uint8Array(0)]);
}
