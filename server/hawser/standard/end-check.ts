/**
 * Whether an answer that has ended is all there. An agent of Hawser that listens cuts off what it does not know as a streaming
 * call after 30 s, with status 200 and an end as clean as any other: only what the bytes say themselves tells the difference.
 */
import { normalPath } from '../../../shared/docker/path.ts';
import type { RawAnswer } from '../../../shared/docker/raw-exchange.ts';
import { TarEnd } from '../../../shared/docker/tar-end.ts';
import { FairleadError } from '../../../shared/errors.ts';
import { JsonEnd } from './json-end.ts';
import { AGENT_CALL_MS, AGENT_CALL_SLACK_MS } from './limits.ts';

export interface AnsweredCall {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
}

/** Follows the bytes of one answer. */
export class EndCheck {
  readonly #isStreaming: boolean;
  /** Node itself fails an answer that is shorter than it says. */
  readonly #isFramed: boolean;
  readonly #isRecords: boolean;
  readonly #tar: TarEnd | undefined;
  readonly #json: JsonEnd | undefined;

  constructor(call: AnsweredCall, { status, headers }: Pick<RawAnswer, 'status' | 'headers'>) {
    const header = (wanted: string) => headers.find(([name]) => name.toLowerCase() === wanted)?.[1];
    const hasBody = call.method !== 'HEAD' && status !== 204 && status !== 304;
    this.#isFramed = !hasBody || header('content-length') !== undefined;
    this.#isStreaming = isStreaming(call);
    this.#isRecords = isRecords(call);
    if (this.#isFramed) return;
    if (status < 300 && isTar(call)) this.#tar = new TarEnd();
    else if (/^application\/json\b/i.test(header('content-type') ?? '')) this.#json = new JsonEnd();
  }

  add(chunk: Buffer): void {
    this.#tar?.add(chunk);
    this.#json?.add(chunk);
  }

  /**
   * What is wrong with an answer that has ended here.
   * @param elapsedMs since the call was sent
   */
  failure(elapsedMs: number): FairleadError | undefined {
    if (this.#isFramed) return undefined;
    const mayBeCut = !this.#isStreaming && elapsedMs >= AGENT_CALL_MS - AGENT_CALL_SLACK_MS;
    if (this.#isWhole(mayBeCut)) return undefined;
    const why = mayBeCut
      ? `an agent of Hawser that listens cuts off such calls after ${AGENT_CALL_MS / 1000} s`
      : 'Docker, or the agent, ended it too soon';
    return new FairleadError('STREAM_INTERRUPTED', `the answer broke off: ${why}`);
  }

  #isWhole(mayBeCut: boolean): boolean {
    if (this.#tar !== undefined) return this.#tar.isReached;
    if (this.#json === undefined) return !mayBeCut;
    const { isBetween, values } = this.#json;
    if (!isBetween) return false;
    // Of records that come one after another, none says that it is the last; what is to be one value is there or not.
    if (this.#isStreaming) return true;
    return this.#isRecords || values > 1 ? values > 0 && !mayBeCut : values === 1;
  }
}

/** Calls that every version of the agent lets go on for as long as they do. */
export function isStreaming({ method, path }: AnsweredCall): boolean {
  const parts = normalPath(path) ?? [];
  const [area] = parts;
  const last = parts.at(-1);
  if (parts.includes('attach') || (area === 'exec' && last === 'start')) return true;
  if (method === 'GET') return last === 'logs' || last === 'events';
  if (method !== 'POST') return false;
  return (area === 'build' && parts.length === 1) || (area === 'images' && (last === 'create' || last === 'push'));
}

/** Calls that are answered by records, as many as there are. */
function isRecords({ method, path }: AnsweredCall): boolean {
  const [area, ...rest] = normalPath(path) ?? [];
  if (area === 'containers') return method === 'GET' && rest.at(-1) === 'stats';
  return area === 'images' && method === 'POST' && rest.at(-1) === 'load';
}

function isTar({ method, path }: AnsweredCall): boolean {
  const parts = normalPath(path) ?? [];
  const [area] = parts;
  const last = parts.at(-1);
  if (method !== 'GET') return false;
  if (area === 'containers') return parts.length === 3 && (last === 'export' || last === 'archive');
  return area === 'images' && last === 'get';
}
