/** What the routes need of the diagnostics. */
import type { Diagnostics } from '../../../shared/doctor/diagnostics.ts';

export interface DiagnosticsService {
  /** @throws FairleadError STORE_UNAVAILABLE where not even the hosts can be listed */
  diagnose(): Promise<Diagnostics>;
}
