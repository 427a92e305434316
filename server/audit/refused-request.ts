/** Requests that anybody can send and that are refused by their own fault. */
import { FairleadError } from '../../shared/errors.ts';

/** What the audit log is to say of a request that was refused. */
export interface RefusalEntry {
  readonly actor: string;
  readonly address: string;
  readonly action: string;
  readonly target?: string;
  readonly result: 'refused';
  readonly detail: Record<string, unknown>;
}

/**
 * A refusal with the row that the audit log is to have of it. The row is not written where the request is judged but by whoever
 * answers, who knows how many such rows there may be.
 */
export class RefusedRequest extends FairleadError {
  readonly entry: RefusalEntry;

  constructor(error: FairleadError, entry: RefusalEntry) {
    super(error.code, error.message, { cause: error.cause });
    this.entry = entry;
  }
}
