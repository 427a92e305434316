/**
 * docker.upgrade on hosts of Hawser in Edge mode, whose agent hands no connection over. An exec without input needs none: its
 * output comes whole, once it is over. Anything else would take a connection that there is not.
 */

import type { HeaderPair } from '../../shared/docker/headers.ts';
import { asObject, asTexts, parseDockerJson } from '../../shared/docker/json.ts';
import { normalPath } from '../../shared/docker/path.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { dockerUpgrade } from '../../shared/messages/docker.ts';
import type { Params, Reply } from '../../shared/messages/kind.ts';
import type { LinkStream, OpenOptions } from '../hosts/host-link.ts';
import type { Answer } from './ask.ts';
import { hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import { type KindContext, type ServeKind, unsupported } from './kind.ts';

type DockerUpgrade = typeof dockerUpgrade;

const JSON_TYPE = 'application/json';
/** As Docker names what comes out of an exec, with frames or of a terminal. */
const RAW_TYPE = 'application/vnd.docker.raw-stream';

export const serveDockerUpgrade: ServeKind<DockerUpgrade> = async (context, params, options) => {
  const path = requireExec(params);
  const { signal } = options;
  const looked = await context.ask({ method: 'GET', path: path.replace(/\/start$/, '/json') }, { signal });
  if (looked.status >= 400) return refused(context, looked, options);
  requireNoInput(asObject(parseDockerJson(looked.body.toString('utf8'))));
  const started = await start(context, path, params, signal);
  if (started.status >= 400) return refused(context, started, options);
  const head = { status: 101, reason: 'UPGRADED', upgraded: true };
  const headers: HeaderPair[] = [['Content-Type', RAW_TYPE]];
  return toStream({ ...head, headers }, HeldBytes.of(context.transport.wholes, started.body), options);
};

/** @returns the path of its start @throws FairleadError UNSUPPORTED for anything else */
function requireExec({ target }: Params<DockerUpgrade>): string {
  const parts = normalPath(target) ?? [];
  const [path = ''] = target.split('?');
  if (parts.length === 3 && parts[0] === 'exec' && parts[2] === 'start') return path;
  const what = parts.at(-1) === 'attach' ? 'container.attach' : `docker.upgrade of /${parts.join('/')}`;
  throw unsupported(`${what}: where it dials out, it hands no connection over`);
}

/** @throws FairleadError UNSUPPORTED for a command that may read */
function requireNoInput({ OpenStdin, ProcessConfig }: Record<string, unknown>): void {
  if (OpenStdin !== true) return;
  const { tty, entrypoint, arguments: words } = asObject(ProcessConfig ?? {});
  throw noInput(tty === true, [String(entrypoint), ...asTexts(words)]);
}

/**
 * Refuses to make an exec that is to read: of what refuses to start one docker's CLI shows nothing but a number.
 * @param body that of the call that makes it
 * @throws FairleadError UNSUPPORTED
 */
export function requireExecWithoutInput(body: string): void {
  const { AttachStdin, Tty, Cmd } = asObject(parseDockerJson(body));
  if (AttachStdin === true) throw noInput(Tty === true, asTexts(Cmd));
}

function noInput(tty: boolean, cmd: readonly string[]): FairleadError {
  const instead =
    tty && cmd.length === 1
      ? `\`fairlead exec -it HOST CONTAINER -- ${cmd[0]?.slice(0, 64)}\` opens such a terminal by Hawser's own exec`
      : 'without -i it runs; a shell by `fairlead exec -it HOST CONTAINER -- sh` takes input';
  return unsupported(`docker.upgrade with input: where it dials out, it hands no connection over; ${instead}`);
}

/** Runs it to its end. @throws FairleadError TIMEOUT */
async function start(
  context: KindContext,
  path: string,
  { body, headers }: Params<DockerUpgrade>,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const given = headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1];
  const call = {
    method: 'POST',
    path,
    headers: { 'Content-Type': given ?? JSON_TYPE },
    json: body === '' ? '{}' : body,
  };
  try {
    return await context.ask(call, { signal });
  } catch (error) {
    if (!isFairleadError(error, 'TIMEOUT')) throw error;
    const detail =
      'a command has 30 s on a host of Hawser that dials out, whose agent then stops to listen; it goes on there';
    throw new FairleadError('TIMEOUT', detail, { cause: error });
  }
}

function refused(
  { transport }: KindContext,
  { status, body }: Answer,
  options: OpenOptions,
): LinkStream<DockerUpgrade> {
  const headers: HeaderPair[] = [
    ['Content-Type', JSON_TYPE],
    ['Content-Length', String(body.byteLength)],
  ];
  return toStream({ status, reason: '', headers, upgraded: false }, HeldBytes.of(transport.wholes, body), options);
}

function toStream(reply: Reply<DockerUpgrade>, bytes: HeldBytes, { signal }: OpenOptions): LinkStream<DockerUpgrade> {
  const { promise: trailer, resolve, reject } = Promise.withResolvers<{ headers: HeaderPair[] }>();
  trailer.catch(() => undefined);
  bytes.once('end', () => resolve({ headers: [] }));
  bytes.once('error', reject);
  return hawserStream<DockerUpgrade>({ reply, bytes, trailer, signal });
}
