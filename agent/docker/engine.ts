/** The host's Docker Engine: is it there, and how to ask it. */
import { Agent, IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { apiCall } from '../../shared/docker/api-calls.ts';
import type { AskedCall, DockerCall, UploadCall } from '../../shared/docker/call.ts';
import { asObject, parseDockerJson, readText } from '../../shared/docker/json.ts';
import { beginExchange, type RawExchange, type RawRequest } from '../../shared/docker/raw-exchange.ts';
import { sendAndRead } from '../../shared/docker/upload.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { DockerState, HostPolicy } from '../../shared/messages/control.ts';
import { permitsCall } from '../policy/docker-calls.ts';
import { deniesAct, type PolicySubject } from '../policy/policy.ts';
import { permitsProxied } from '../policy/proxied-calls.ts';
import { type DockerAddress, parseDockerAddress } from './address.ts';
import { bind, successOf } from './answer-body.ts';
import { connectionFailure, unreachable } from './failure.ts';
import type { LeftExecs } from './left-execs.ts';
import { Modem } from './modem.ts';
import { DockerPresence, type DockerVersion } from './presence.ts';

/** How long the question whether Docker is there may take, and every call while the last one had no answer. */
const PROBE_TIMEOUT_MS = 5_000;
const CALL_TIMEOUT_MS = 30_000;
/** The largest answer that is taken in whole, unless the call says another. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const TCP_KEEPALIVE_MS = 15_000;
/** Connections that wait for the next read of a client. */
const MAX_IDLE_CONNECTIONS = 8;
/** Room for a container's name in what a refusal says. */
const MAX_SHOWN_PATH_CHARS = 300;

export interface EngineOptions {
  /** A socket path, `unix:///path` or `tcp://host:port`. */
  readonly socket: string;
  /** Which calls this host lets Docker get, whoever asks for them. */
  readonly policy: HostPolicy;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Where execs are kept that run for somebody; absent: an agent that is killed leaves them running. */
  readonly execs?: Pick<LeftExecs, 'begun' | 'over'>;
}

/**
 * The Docker Engine of this host. It is polled, so that `state` is true within seconds whether or not anyone calls;
 * a call that cannot connect changes it at once. Every call throws FairleadError: DOCKER_UNREACHABLE, TIMEOUT,
 * CONTAINER_NOT_FOUND, NOT_FOUND, CONFLICT, VALIDATION, UNSUPPORTED, DOCKER_ERROR, DENIED_BY_HOST (Docker was sent nothing
 * then), or the reason of its signal.
 */
export class DockerEngine {
  readonly clock: Clock;
  readonly execs: EngineOptions['execs'];
  readonly #address: DockerAddress;
  readonly #policy: HostPolicy;
  readonly #presence: DockerPresence;
  readonly #modem: Modem;
  readonly #reads = new Agent({ keepAlive: true, maxFreeSockets: MAX_IDLE_CONNECTIONS });
  readonly #closing = new AbortController();

  /** @throws FairleadError VALIDATION for an address that is none */
  constructor(options: EngineOptions) {
    this.clock = options.clock;
    this.execs = options.execs;
    this.#policy = options.policy;
    this.#address = parseDockerAddress(options.socket);
    this.#modem = new Modem(this.#address);
    this.#presence = new DockerPresence({ ...options, askVersion: () => this.#askVersion() });
  }

  /** Whether it is reached by a socket of this machine, and so most likely runs on it. */
  get isLocal(): boolean {
    return 'socketPath' in this.#address;
  }

  /** What is known of Docker now. */
  get state(): DockerState {
    return this.#presence.state;
  }

  /** Calls `listener` at every change of `state`, until the returned function is called. */
  onState(listener: (state: DockerState) => void): () => void {
    return this.#presence.onState(listener);
  }

  /** Begins to poll. Resolves when Docker has answered, or failed to, for the first time. Idempotent. */
  async start(): Promise<void> {
    if (!this.#closing.signal.aborted) await this.#presence.start();
  }

  /** Ends polling and all calls. Idempotent. */
  close(): void {
    this.#presence.close();
    this.#closing.abort(new FairleadError('SHUTDOWN', 'the agent is stopping'));
    this.#modem.close();
    this.#reads.destroy();
  }

  /** Docker's answer as parsed JSON. */
  async json(call: DockerCall): Promise<unknown> {
    const text = await this.#exchange(call, async (answer) => {
      const body = await successOf(answer);
      return await readText(body, call.maxBytes ?? MAX_ANSWER_BYTES);
    });
    return parseDockerJson(text);
  }

  /** A call whose answer says nothing but that it is done. 304 (it was so already) is done too. */
  async act(call: DockerCall): Promise<void> {
    await this.#exchange(call, async (answer) => {
      const body = answer instanceof IncomingMessage && answer.statusCode === 304 ? answer : await successOf(answer);
      await readText(body, call.maxBytes ?? MAX_ANSWER_BYTES);
    });
  }

  /**
   * Docker's answer as a stream, from the moment its head has come. The signal destroys it with the signal's reason.
   * What it fails with is made a FairleadError by `explain`.
   */
  async stream(call: DockerCall): Promise<Readable> {
    const body = await this.#exchange(call, successOf);
    if ('socketPath' in this.#address) return bind(body, call.signal);
    // A connection over TCP whose other end vanished would stay open without a word.
    body.socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    return bind(body, call.signal);
  }

  /**
   * A call whose body is sent as it comes, at Docker's pace. @returns Docker's whole answer
   * @throws as other calls; what `source` fails with
   */
  async upload(call: UploadCall, source: Readable): Promise<string> {
    this.requirePermitted(call);
    const ending = AbortSignal.any([this.#closing.signal, ...(call.signal === undefined ? [] : [call.signal])]);
    ending.throwIfAborted();
    const exchange = beginExchange(this.#address, {
      method: call.method,
      target: `${call.path}?${new URLSearchParams(call.query)}`,
      headers: [['Content-Type', call.contentType]],
      body: 'chunked',
    });
    try {
      return await sendAndRead(exchange, source, ending);
    } catch (error) {
      throw this.#failureOf(error, ending);
    } finally {
      exchange.destroy();
    }
  }

  /** A call after which Docker hands over the bare connection. It belongs to the caller, whatever the signal does. */
  async hijack(call: DockerCall): Promise<Socket> {
    const socket = await this.#exchange(
      call,
      async (answer) => {
        if (answer instanceof Socket) return answer;
        const body = await successOf(answer);
        body.destroy();
        throw new FairleadError('DOCKER_ERROR', 'Docker answered, but did not hand over the connection');
      },
      true,
    );
    if (!('socketPath' in this.#address)) socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    return socket;
  }

  /**
   * Puts a client's own request to Docker, which came in a stream of `kind`. It ends when the agent stops; all else that
   * ends it is the caller's affair.
   * @throws FairleadError DENIED_BY_HOST (Docker was sent nothing), MESSAGE_INVALID, SHUTDOWN
   */
  exchange(kind: PolicySubject, request: RawRequest): RawExchange {
    const { method, target } = request;
    if (!permitsProxied(this.#policy, kind, method, target)) throw denied(method, target.split('?')[0] ?? '');
    const { signal } = this.#closing;
    signal.throwIfAborted();
    const exchange = beginExchange({ ...this.#address, reads: this.#reads }, request);
    const stop = () => exchange.destroy();
    signal.addEventListener('abort', stop);
    void exchange.ended.then(() => signal.removeEventListener('abort', stop));
    return exchange;
  }

  /**
   * Asks beforehand whether the host's policy permits a call, for work that must not stop half way.
   * @throws FairleadError DENIED_BY_HOST
   */
  requirePermitted({ method, path }: AskedCall): void {
    if (!permitsCall(this.#policy, method, path)) throw denied(method, path);
  }

  /**
   * The same for what a stream of `kind` does beside what its own name says, for its parameters: it must not be denied under
   * the name that such a call has in the catalogue either. What `kind` always does stands in `agent/policy/acts.ts`.
   * @throws FairleadError DENIED_BY_HOST
   */
  requireNamed(kind: PolicySubject, call: AskedCall): void {
    this.requirePermitted(call);
    const { method, path } = call;
    const name = apiCall(method, path)?.name;
    if (name === undefined || deniesAct(this.#policy, kind, name)) throw denied(method, path);
  }

  /** The FairleadError for a connection or a stream that broke, which is then looked into; anything else as it is. */
  explain(error: unknown): unknown {
    const failure = isFairleadError(error) ? undefined : connectionFailure(error, this.#address.text);
    if (failure === undefined) return error;
    void this.#presence.ask();
    return failure;
  }

  /** Runs one exchange, its reading by `take` included, within its time. */
  async #exchange<T>(
    call: DockerCall,
    take: (answer: IncomingMessage | Socket) => Promise<T>,
    hijack = false,
  ): Promise<T> {
    const timeoutMs = call.timeoutMs ?? CALL_TIMEOUT_MS;
    // While Docker does not answer, a call says so soon instead of after the longest time it might take.
    const limitMs = this.state.reachable ? timeoutMs : Math.min(timeoutMs, PROBE_TIMEOUT_MS);
    const abort = new AbortController();
    const onAbort = (event: Event) => abort.abort((event.target as AbortSignal).reason);
    const signals = [this.#closing.signal, ...(call.signal === undefined ? [] : [call.signal])];
    for (const signal of signals) signal.throwIfAborted();
    for (const signal of signals) signal.addEventListener('abort', onAbort);
    const timer = this.clock.setTimeout(() => abort.abort(this.#timedOut(limitMs)), limitMs);
    try {
      this.requirePermitted(call);
      const answer = await this.#modem.dial(call, hijack, abort.signal);
      const stop = () => answer.destroy();
      abort.signal.addEventListener('abort', stop);
      const value = await take(answer);
      abort.signal.removeEventListener('abort', stop);
      if (!this.state.reachable) void this.#presence.ask();
      return value;
    } catch (error) {
      throw this.#failureOf(error, abort.signal);
    } finally {
      timer.cancel();
      for (const signal of signals) signal.removeEventListener('abort', onAbort);
    }
  }

  #timedOut(limitMs: number): FairleadError {
    if (this.state.reachable) return new FairleadError('TIMEOUT', `Docker did not answer within ${limitMs / 1000} s`);
    return unreachable(this.#address.text, `it did not answer within ${limitMs / 1000} s`);
  }

  #failureOf(error: unknown, signal: AbortSignal): unknown {
    if (signal.aborted) {
      const reason: unknown = signal.reason;
      if (isFairleadError(reason, 'TIMEOUT')) void this.#presence.ask();
      return isFairleadError(reason)
        ? reason
        : new FairleadError('CANCELLED', 'the call was cancelled', { cause: reason });
    }
    const failure = isFairleadError(error) ? undefined : connectionFailure(error, this.#address.text);
    if (failure === undefined) return error;
    this.#presence.lost(failure.message);
    return failure;
  }

  async #askVersion(): Promise<DockerVersion> {
    return asObject(
      await this.#exchange({ method: 'GET', path: '/version', timeoutMs: PROBE_TIMEOUT_MS }, async (answer) =>
        parseDockerJson(await readText(await successOf(answer), MAX_ANSWER_BYTES)),
      ),
    );
  }
}

function denied(method: string, path: string): FairleadError {
  const shown = path.length > MAX_SHOWN_PATH_CHARS ? `${path.slice(0, MAX_SHOWN_PATH_CHARS)}…` : path;
  return new FairleadError('DENIED_BY_HOST', `this host's policy does not let Docker be asked ${method} ${shown}`);
}
