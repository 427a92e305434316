/** An exec with a terminal by the messages of Edge mode. */
import { FairleadError } from '../../shared/errors.ts';
import { sleep } from '../../shared/sleep.ts';
import type { OpenOptions } from '../hosts/host-link.ts';
import { asFairleadError } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import { INPUT_GAP_MS, REQUEST_MS } from './limits.ts';
import type { HawserSession } from './session.ts';
import { TerminalInput } from './terminal-input.ts';
import type { ExecStart, Terminal } from './transport.ts';

const CTRL_C = Buffer.from([0x03]);
const CTRL_D = Buffer.from([0x04]);
/** How long a process that is left has to take the keys that end most of them. */
const FAREWELL_MS = 50;

export class EdgeTerminal implements Terminal {
  readonly id: string;
  readonly bytes: HeldBytes;
  readonly #session: HawserSession;
  readonly #input: TerminalInput;
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  /** Whether the agent, or its session, has ended it. */
  #isOver = false;

  constructor(session: HawserSession) {
    this.#session = session;
    for (const { promise } of [this.#ready, this.#ended]) promise.catch(() => undefined);
    this.#input = new TerminalInput(session.clock, (frame) => this.#type(frame));
    this.bytes = new HeldBytes(session.gate, () => void this.#leave(), this.#input);
    this.bytes.once('error', (error) => this.#settle(asFairleadError(error)));
    this.id = session.begin({
      sort: 'exec',
      ready: this.#ready.resolve,
      data: (chunk) => this.bytes.receive(chunk),
      end: () => {
        this.bytes.finish();
        this.#settle();
      },
      fail: (error) => {
        this.#isOver = true;
        this.#fail(error);
      },
    });
  }

  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Resolves once Docker has taken the exec. @throws what the agent says, TIMEOUT, the reason of `signal` */
  async start(start: ExecStart, { signal, timeoutMs = REQUEST_MS }: OpenOptions): Promise<void> {
    const late = new FairleadError('TIMEOUT', 'the host did not start the exec in time');
    const timer = this.#session.clock.setTimeout(() => this.#fail(late), timeoutMs);
    const onAbort = () => this.#fail(asFairleadError(signal?.reason));
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      this.#session.send({ type: 'exec_start', execId: this.id, ...start });
      await this.#ready.promise;
    } catch (error) {
      this.bytes.destroy();
      throw error;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  resize(size: { readonly cols: number; readonly rows: number }): void {
    this.#session.send({ type: 'exec_resize', execId: this.id, ...size });
  }

  #type(frame: Buffer): void {
    this.#session.send({ type: 'exec_input', execId: this.id, data: frame.toString('base64') });
  }

  #settle(error?: FairleadError): void {
    if (error === undefined) {
      this.#ready.resolve();
      this.#ended.resolve();
    } else {
      this.#ready.reject(error);
      this.#ended.reject(error);
    }
  }

  /** Whoever waits is told the reason, before it counts as left. */
  #fail(error: FairleadError): void {
    this.#settle(error);
    this.bytes.destroy(error);
  }

  /** The agent ends the connection, not the process: keys may do that. */
  async #leave(): Promise<void> {
    const { clock } = this.#session;
    this.#input.stop();
    this.#settle(new FairleadError('CANCELLED', 'the exec was left'));
    if (this.#isOver) return;
    try {
      for (const key of [CTRL_C, CTRL_D]) {
        this.#type(key);
        await sleep(2 * INPUT_GAP_MS, clock);
      }
      await sleep(FAREWELL_MS, clock);
    } catch {
      // An agent that takes no keys takes no end either; its own end of the connection ends with the session.
    }
    this.#session.release(this.id, true);
  }
}
