/**
 * container.exec.open on hosts of Hawser. A single word with a terminal goes by Hawser's own exec, which takes no more than
 * that; anything else by three requests to Docker, without input and within the 30 s that the agent waits.
 */
import { answerFailure } from '../../shared/docker/answer-failure.ts';
import { type DockerCall, dockerPath } from '../../shared/docker/call.ts';
import { Demuxer } from '../../shared/docker/frames.ts';
import { asObject } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { containerExecOpen } from '../../shared/messages/container.ts';
import type { containerExecRun } from '../../shared/messages/container-streams.ts';
import type { Params } from '../../shared/messages/kind.ts';
import type { LinkStream, OpenOptions } from '../hosts/host-link.ts';
import { asFairleadError, hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import { type KindContext, type ServeKind, unsupported } from './kind.ts';
import { openTerminal } from './terminal.ts';
import { hawserCall, json } from './unary.ts';

type ExecOpen = typeof containerExecOpen;
type ExecParams = Params<ExecOpen>;

export const serveExecOpen: ServeKind<ExecOpen> = async (context, params, options) => {
  const { cmd, tty = false, stdin = true, workdir, env = [] } = params;
  if (!tty) return await runPlainly(context, params, options);
  const [word] = cmd;
  const isPlain = cmd.length === 1 && workdir === undefined && env.length === 0;
  if (isPlain && word !== undefined) return await openTerminal(context, params, word, options);
  if (!stdin) return await runPlainly(context, params, options);
  throw unsupported(
    'container.exec.open with a terminal for a command of several words, with a folder or an environment: start a shell, ' +
      'such as sh, and type it there',
  );
};

/** Create, start, and ask for the code. The output comes in one piece. */
async function runPlainly(
  context: KindContext,
  params: ExecParams,
  { signal, timeoutMs }: OpenOptions,
): Promise<LinkStream<ExecOpen>> {
  const { Id } = asObject(await json(context, createCall(params), { signal, timeoutMs }));
  const { tty = false } = params;
  const bytes = new HeldBytes(context.transport.wholes, () => undefined);
  const trailer = run(context, String(Id), tty, bytes);
  trailer.catch((error: unknown) => bytes.destroy(asFairleadError(error)));
  return hawserStream<ExecOpen>({ reply: { execId: String(Id), tty }, bytes, trailer, signal });
}

/** As without a terminal; both outputs apart, and no more of them than is wanted. */
export const serveExecRun: ServeKind<typeof containerExecRun> = async (context, params, { signal, timeoutMs }) => {
  const { stdin = false, timeoutMs: longest, maxOutputBytes, ...exec } = params;
  if (stdin) throw unsupported('container.exec.run with input: its agent passes none on');
  const { Id } = asObject(await json(context, createCall(exec), { signal, timeoutMs }));
  const output = new HeldBytes(context.transport.wholes, () => undefined);
  const bytes = HeldBytes.none();
  bytes.resume();
  const ended = run(context, String(Id), false, output, longest);
  const trailer = ended.then(async ({ code }) => ({ exitCode: code, ...kept(await output.toArray(), maxOutputBytes) }));
  trailer.catch(() => void output.destroy());
  return hawserStream<typeof containerExecRun>({ reply: { execId: String(Id) }, bytes, trailer, signal });
};

/** Each output in base64, cut where it is longer. @throws FairleadError DOCKER_ERROR, STREAM_INTERRUPTED */
function kept(chunks: readonly Buffer[], maxBytes: number): { stdout: string; stderr: string; truncated: boolean } {
  const outputs = { 1: [] as Buffer[], 2: [] as Buffer[] };
  const demuxer = new Demuxer((stream, piece) => outputs[stream].push(piece));
  for (const chunk of chunks) demuxer.push(chunk);
  demuxer.end();
  const [stdout, stderr] = [Buffer.concat(outputs[1]), Buffer.concat(outputs[2])];
  const text = (bytes: Buffer) => bytes.subarray(0, maxBytes).toString('base64');
  const truncated = Math.max(stdout.byteLength, stderr.byteLength) > maxBytes;
  return { stdout: text(stdout), stderr: text(stderr), truncated };
}

function createCall({ id, cmd, tty = false, user, workdir, env }: ExecParams): DockerCall {
  const body = {
    ...{ AttachStdin: false, AttachStdout: true, AttachStderr: true, Tty: tty, Cmd: cmd },
    ...(user === undefined ? {} : { User: user }),
    ...(workdir === undefined ? {} : { WorkingDir: workdir }),
    ...(env === undefined ? {} : { Env: env }),
  };
  return { method: 'POST', path: dockerPath`/containers/${id}/exec`, body };
}

async function run(
  context: KindContext,
  id: string,
  tty: boolean,
  bytes: HeldBytes,
  timeoutMs?: number,
): Promise<{ code: number }> {
  const start = hawserCall({ method: 'POST', path: dockerPath`/exec/${id}/start`, body: { Detach: false, Tty: tty } });
  try {
    const { status, body } = await context.ask(start, { timeoutMs });
    if (status >= 400) throw answerFailure(status, body.toString('utf8'));
    context.transport.wholes.require(body.byteLength);
    bytes.receiveWhole(body);
  } catch (error) {
    if (!isFairleadError(error, 'TIMEOUT')) throw error;
    const detail =
      'a command without a terminal has 30 s on a host of Hawser, whose agent then stops to listen; it goes on in its container';
    throw new FairleadError('TIMEOUT', detail, { cause: error });
  }
  bytes.finish();
  return { code: await exitCode(context, id) };
}

/** @throws FairleadError DOCKER_ERROR */
async function exitCode(context: KindContext, id: string): Promise<number> {
  const { ExitCode } = asObject(await json(context, { method: 'GET', path: dockerPath`/exec/${id}/json` }, {}));
  if (typeof ExitCode === 'number' && Number.isInteger(ExitCode)) return ExitCode;
  throw new FairleadError('DOCKER_ERROR', 'Docker does not say how the process ended');
}
