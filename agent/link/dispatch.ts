/** From a stream that the server opened to the handler that serves it. What fails touches that stream alone. */
import type { Logger } from 'pino';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { MAX_OPEN_STREAMS } from '../../shared/limits.ts';
import type { HostPolicy } from '../../shared/messages/control.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { Handler, HandlerContext } from '../handlers/index.ts';
import { deniedKind } from '../policy/denied-kind.ts';
import { permits } from '../policy/policy.ts';

export interface DispatchOptions {
  readonly policy: HostPolicy;
  /** By the kind's code. */
  readonly handlers: ReadonlyMap<number, Handler>;
  readonly context: HandlerContext;
  readonly log: Logger;
}

/** Serves streams, and counts those it is serving. */
export class Dispatcher {
  readonly #options: DispatchOptions;
  #running = 0;

  constructor(options: DispatchOptions) {
    this.#options = options;
  }

  /** Streams whose handlers have not ended. */
  get running(): number {
    return this.#running;
  }

  /** The names of the kinds that are served and that the host's policy permits. */
  capabilities(kinds: readonly StreamKind[]): string[] {
    const { handlers, policy } = this.#options;
    return kinds.filter((kind) => handlers.has(kind.code) && permits(policy, kind)).map((kind) => kind.name);
  }

  /** The names of the kinds that are served but for the host's policy. */
  denied(kinds: readonly StreamKind[]): string[] {
    const { handlers, policy } = this.#options;
    return kinds.filter((kind) => handlers.has(kind.code) && !permits(policy, kind)).map((kind) => kind.name);
  }

  /** Serves one stream. Returns at once; never throws. */
  accept(stream: MuxStream): void {
    const { policy, handlers, log } = this.#options;
    const kind = stream.kind;
    if (!permits(policy, kind)) {
      log.warn({ kind: kind.name }, "refused by the host's policy");
      stream.reset(deniedKind(policy, kind));
      return;
    }
    const handler = handlers.get(kind.code);
    if (handler === undefined) {
      stream.reset(new FairleadError('UNSUPPORTED', `this agent does not serve ${kind.name}`));
      return;
    }
    // Work can outlive its stream: a peer that opens and resets must not have more of it done than streams may be open.
    if (this.#running >= MAX_OPEN_STREAMS) {
      stream.reset(new FairleadError('OVERLOADED', 'the agent still works for streams that were reset'));
      return;
    }
    void this.#serve(stream, handler);
  }

  async #serve(stream: MuxStream, handler: Handler): Promise<void> {
    this.#running += 1;
    try {
      await handler(stream, this.#options.context);
    } catch (error) {
      this.#fail(stream, error);
    } finally {
      this.#running -= 1;
    }
  }

  #fail(stream: MuxStream, error: unknown): void {
    const { log } = this.#options;
    const kind = stream.kind.name;
    // The other end gave up first: whatever the handler met after that is a consequence.
    if (stream.aborted.aborted) {
      log.debug({ err: error, kind }, 'stream given up');
    } else if (isFairleadError(error)) {
      log.debug({ code: error.code, reason: error.message, kind }, 'stream failed');
      stream.reset(error);
    } else {
      log.error({ err: error, kind }, 'a handler failed unexpectedly');
      stream.reset(
        new FairleadError('INTERNAL', `the agent failed at ${kind}; the cause is in its log`, { cause: error }),
      );
    }
  }
}
