/** Whether the agent's user can speak with Docker, and whether that answers. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import http from 'node:http';
import { asObject, type DockerObject, parseDockerJson, readText } from '../../shared/docker/json.ts';
import { type Check, fail, ok } from '../../shared/doctor/check.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { parseDockerAddress } from '../docker/address.ts';
import { connectionFailure } from '../docker/failure.ts';

const TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 256 * 1024;
const NO_SOCKET = 'install Docker and start it (systemctl start docker), or give its socket with --docker';

/** @param address as --docker takes it. @throws FairleadError VALIDATION for one that is none */
export async function dockerChecks(address: string): Promise<Check[]> {
  const place = parseDockerAddress(address);
  const socket = 'socketPath' in place ? await socketCheck(place.socketPath) : undefined;
  if (socket !== undefined && socket.level === 'fail') return [socket];
  return [...(socket === undefined ? [] : [socket]), await answerCheck(place)];
}

async function socketCheck(path: string): Promise<Check> {
  try {
    if (!(await stat(path)).isSocket()) return fail('docker.socket', `${path} is no socket`, NO_SOCKET);
    await access(path, constants.R_OK | constants.W_OK);
    return ok('docker.socket', `${path} is there, and this user may use it`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') {
      const advice =
        'run the agent as root, or add its user to the group of the socket: usermod -aG docker USER, and restart it';
      return fail('docker.socket', `this user may not use ${path}`, advice);
    }
    return fail('docker.socket', `there is no socket ${path} (${code})`, NO_SOCKET);
  }
}

type Place = ReturnType<typeof parseDockerAddress>;

async function answerCheck(place: Place): Promise<Check> {
  try {
    const { Version, ApiVersion, Os, Arch } = await askPlace(place, '/version');
    return ok('docker.answer', `Docker ${Version} answers at ${place.text}: API ${ApiVersion}, ${Os}/${Arch}`);
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return fail('docker.answer', error.message, 'look at its log (journalctl -u docker) and try `docker version`');
  }
}

/**
 * What Docker answers to a GET of `path`.
 * @param address as --docker takes it
 * @throws FairleadError VALIDATION, DOCKER_UNREACHABLE, DOCKER_ERROR
 */
export async function askDocker(address: string, path: string): Promise<DockerObject> {
  return await askPlace(parseDockerAddress(address), path);
}

async function askPlace(place: Place, path: string): Promise<DockerObject> {
  try {
    return asObject(parseDockerJson(await ask(place, path)));
  } catch (error) {
    throw (isFairleadError(error) ? undefined : connectionFailure(error, place.text)) ?? error;
  }
}

/** @throws FairleadError, or the error of the connection */
async function ask(place: Place, path: string): Promise<string> {
  const where = 'socketPath' in place ? { socketPath: place.socketPath } : { host: place.host, port: place.port };
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  http.get({ ...where, path, signal, agent: false }, resolve).on('error', reject);
  try {
    const answer = await promise;
    const text = await readText(answer, MAX_ANSWER_BYTES);
    if (answer.statusCode === 200) return text;
    throw new FairleadError(
      'DOCKER_ERROR',
      `what listens at ${place.text} answers ${answer.statusCode} to GET ${path}`,
    );
  } catch (error) {
    if (!signal.aborted) throw error;
    const detail = `Docker did not answer at ${place.text} within ${TIMEOUT_MS / 1000} s`;
    throw new FairleadError('DOCKER_UNREACHABLE', detail, { cause: error });
  }
}
