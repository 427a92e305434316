/** Commands in containers of hosts whose agent listens: Docker's own exec, whose connection the agent hands over. */
import { type DockerCall, dockerPath } from '../../../shared/docker/call.ts';
import { Demuxer } from '../../../shared/docker/demux.ts';
import { asObject } from '../../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { Gathered } from '../../../shared/gathered.ts';
import type { containerExecOpen } from '../../../shared/messages/container.ts';
import type { containerExecRun } from '../../../shared/messages/container-streams.ts';
import type { Params, Signal } from '../../../shared/messages/kind.ts';
import { sleep } from '../../../shared/sleep.ts';
import { hawserStream } from '../hawser-stream.ts';
import { HeldBytes } from '../held-bytes.ts';
import { unsupported } from '../kind.ts';
import { json } from '../unary.ts';
import { connectionOf, handedOver } from './handed-over.ts';
import type { ServeStandard, StandardContext } from './kind.ts';
import { untilAborted } from './until-aborted.ts';

type ExecOpen = typeof containerExecOpen;
type Size = Signal<ExecOpen>['resize'];

/** How often Docker is asked for the exit code once the output has ended, and for how long. */
const POLL = { firstMs: 5, maxMs: 500, longestMs: 10_000 };
/** How long after a connection broke the process may run before that counts as an interruption. */
const BROKEN_GRACE_MS = 1_000;
const JSON_TYPE: [string, string] = ['Content-Type', 'application/json'];

export const serveStandardExecOpen: ServeStandard<ExecOpen> = async (context, params, { signal, timeoutMs }) => {
  const { tty = false, stdin = true, size } = params;
  const id = await createExec(context, params, stdin, { signal, timeoutMs });
  const exec = await startExec(context, id, { tty, signal, size });
  const resizer = new Resizer(context, id);
  // Engines before API 1.42 do not take the size with the start.
  if (tty && size !== undefined) await resizer.set(size);
  return hawserStream<ExecOpen>({
    reply: { execId: id, tty },
    bytes: exec.bytes,
    trailer: exec.code.then((code) => ({ code })),
    onSignal: ({ resize }) => void resizer.set(resize),
    signal,
  });
};

/** Both outputs apart, and no more of them than is wanted. */
export const serveStandardExecRun: ServeStandard<typeof containerExecRun> = async (context, params, options) => {
  const { stdin = false, timeoutMs: longestMs, maxOutputBytes, ...asked } = params;
  if (stdin) throw unsupported('container.exec.run with input, since it cannot pass on where that ends');
  const { signal, timeoutMs } = options;
  const id = await createExec(context, asked, false, { signal, timeoutMs });
  const exec = await startExec(context, id, { tty: false, signal });
  const late = `the command did not end within ${longestMs / 1000} s; it goes on in its container, which an agent of Hawser cannot end`;
  const timer = context.transport.clock.setTimeout(
    () => exec.bytes.destroy(new FairleadError('TIMEOUT', late)),
    longestMs,
  );
  const output = gather(exec.bytes, maxOutputBytes);
  const trailer = Promise.all([exec.code, output]).then(([exitCode, kept]) => ({ exitCode, ...kept }));
  trailer.then(
    () => timer.cancel(),
    () => timer.cancel(),
  );
  // The caller's stream has no bytes: it lasts as long as the command, and ends it for the caller when it is left.
  const bytes = new HeldBytes({ set: () => undefined }, () => exec.bytes.destroy());
  bytes.resume();
  exec.bytes.once('error', (error) => bytes.destroy(error));
  exec.bytes.once('end', () => bytes.finish());
  return hawserStream<typeof containerExecRun>({ reply: { execId: id }, bytes, trailer, signal });
};

interface Times {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

/** @returns its id. @throws FairleadError CONTAINER_NOT_FOUND, CONFLICT, … */
async function createExec(
  context: StandardContext,
  { id, cmd, tty = false, user, workdir, env }: Params<ExecOpen>,
  stdin: boolean,
  times: Times,
): Promise<string> {
  const body = {
    ...{ AttachStdin: stdin, AttachStdout: true, AttachStderr: true, Tty: tty, Cmd: cmd },
    ...(user === undefined ? {} : { User: user }),
    ...(workdir === undefined ? {} : { WorkingDir: workdir }),
    ...(env === undefined ? {} : { Env: env }),
  };
  const call: DockerCall = { method: 'POST', path: dockerPath`/containers/${id}/exec`, body };
  const { Id } = asObject(await json(context, call, times));
  if (typeof Id === 'string') return Id;
  throw new FairleadError('DOCKER_ERROR', 'Docker made an exec without an id');
}

/** An exec that was started. */
interface Started {
  readonly bytes: HeldBytes;
  /** Its exit code, which is known before the bytes end. Rejects with what they fail with. */
  readonly code: Promise<number>;
}

/** @throws FairleadError what Docker refuses, HOST_OFFLINE, the reason of `signal` */
async function startExec(
  context: StandardContext,
  id: string,
  {
    tty,
    signal,
    size,
  }: { readonly tty: boolean; readonly signal?: AbortSignal | undefined; readonly size?: Size | undefined },
): Promise<Started> {
  const { transport } = context;
  signal?.throwIfAborted();
  const sized = tty && size !== undefined ? { ConsoleSize: [size.rows, size.cols] } : {};
  const body = Buffer.from(JSON.stringify({ Detach: false, Tty: tty, ...sized }));
  const target = dockerPath`/exec/${id}/start`;
  const begun = transport.begin({
    ...{ method: 'POST', target, headers: [JSON_TYPE], body: body.byteLength, protocol: 'tcp' },
  });
  begun.body.end(body);
  return await untilAborted(begun, signal, async () => {
    const answer = await transport.head(begun);
    const connection = await connectionOf(transport, begun, answer);
    const { promise: code, resolve, reject } = Promise.withResolvers<number>();
    code.catch(() => undefined);
    const confirm = async (isBroken: boolean) => resolve(await exitCode(context, id, isBroken));
    const bytes = handedOver(transport, begun, connection, { hasTerminal: tty, typesKeys: true, confirm });
    bytes.once('error', reject);
    bytes.once('close', () => reject(new FairleadError('CANCELLED', 'the exec was left')));
    return { bytes, code };
  });
}

/** @throws FairleadError STREAM_INTERRUPTED for a process that runs on although its output has ended */
export async function exitCode(context: StandardContext, id: string, isBroken: boolean): Promise<number> {
  const longestMs = isBroken ? BROKEN_GRACE_MS : POLL.longestMs;
  let waitedMs = 0;
  for (let waitMs = POLL.firstMs; ; waitMs = Math.min(2 * waitMs, POLL.maxMs)) {
    const { Running, ExitCode } = await inspectExec(context, id);
    if (Running === false && typeof ExitCode === 'number' && Number.isInteger(ExitCode)) return ExitCode;
    if (waitedMs >= longestMs)
      throw new FairleadError(
        'STREAM_INTERRUPTED',
        'the connection to the exec ended, and its process goes on without it',
      );
    await sleep(waitMs, context.transport.clock);
    waitedMs += waitMs;
  }
}

/** What Docker says of an exec whose connection has ended. @throws FairleadError NOT_FOUND, STREAM_INTERRUPTED */
export async function inspectExec(context: StandardContext, id: string): Promise<Record<string, unknown>> {
  const path = dockerPath`/exec/${id}/json`;
  return asObject(await json(context, { method: 'GET', path }, {}).catch(interrupted));
}

/** What cannot be asked any more has not ended in order. */
function interrupted(error: unknown): never {
  if (!isFairleadError(error, 'HOST_OFFLINE')) throw error;
  throw new FairleadError('STREAM_INTERRUPTED', `the connection to the exec broke: ${error.message}`, { cause: error });
}

/** Each output in base64, cut where it is longer. */
async function gather(
  bytes: HeldBytes,
  maxBytes: number,
): Promise<{ stdout: string; stderr: string; truncated: boolean }> {
  const outputs = { 1: new Gathered(maxBytes), 2: new Gathered(maxBytes) };
  let truncated = false;
  const demuxer = new Demuxer((stream, piece) => {
    if (!outputs[stream === 2 ? 2 : 1].add(piece)) truncated = true;
  });
  for await (const chunk of bytes as AsyncIterable<Buffer>) demuxer.push(chunk);
  demuxer.end();
  const text = (output: Gathered) => output.bytes().toString('base64');
  return { stdout: text(outputs[1]), stderr: text(outputs[2]), truncated };
}

/** Sets a terminal's size; of sizes that come while one is being set, only the last is. */
class Resizer {
  readonly #context: StandardContext;
  readonly #id: string;
  #wanted: Size | undefined;
  #setting: Promise<void> | undefined;

  constructor(context: StandardContext, id: string) {
    this.#context = context;
    this.#id = id;
  }

  /** Never rejects for what the host says: a size is no reason to end a terminal. */
  set(size: Size): Promise<void> {
    this.#wanted = size;
    this.#setting ??= this.#setWanted().finally(() => {
      this.#setting = undefined;
    });
    return this.#setting;
  }

  async #setWanted(): Promise<void> {
    while (this.#wanted !== undefined) {
      const { rows, cols } = this.#wanted;
      this.#wanted = undefined;
      try {
        await this.#context.ask({
          method: 'POST',
          path: `${dockerPath`/exec/${this.#id}/resize`}?h=${rows}&w=${cols}`,
        });
      } catch (error) {
        if (!isFairleadError(error)) throw error;
      }
    }
  }
}
