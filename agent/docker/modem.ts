/** Puts the agent's own calls to Docker. The only file that knows dockerode. */
import { Agent, IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { inspect } from 'node:util';
import Docker from 'dockerode';
import type { DockerCall } from '../../shared/docker/call.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { DockerAddress } from './address.ts';

/** The part of docker-modem that is used: it calls back with a response, or with the socket of an upgrade. */
interface DockerModem {
  dial(options: DialOptions, callback: (error: unknown, answer: unknown) => void): void;
}

interface DialOptions {
  readonly path: string;
  readonly method: string;
  readonly options: { readonly _query: object; readonly _body: object };
  /** The answer is handed over at its head; docker-modem would collect a body of any size. */
  readonly isStream: true;
  readonly hijack: boolean;
  readonly statusCodes: Readonly<Record<number, true>>;
  readonly abortSignal: AbortSignal;
}

/** Every status comes back as an answer: docker-modem's own errors hold the text in a form of their own. */
const ANY_STATUS: Readonly<Record<number, true>> = Object.fromEntries(
  Array.from({ length: 600 }, (_, status) => [status, true]),
);

export class Modem {
  readonly #agent = opaque(new Agent({ keepAlive: false }));
  readonly #modem: DockerModem;

  constructor(address: DockerAddress) {
    this.#modem = openModem(address, this.#agent);
  }

  /** Docker's answer from its head on, whatever its status, or the bare connection of an upgrade. */
  dial(call: DockerCall, hijack: boolean, signal: AbortSignal): Promise<IncomingMessage | Socket> {
    return new Promise((resolve, reject) => {
      const options: DialOptions = {
        // docker-modem puts the query behind it alone: the path goes out as it is here.
        path: `${call.path}?`,
        method: call.method,
        options: { _query: call.query ?? {}, _body: call.body ?? {} },
        isStream: true,
        hijack,
        statusCodes: ANY_STATUS,
        abortSignal: opaque(signal),
      };
      this.#modem.dial(options, (error, answer) => {
        if (answer instanceof IncomingMessage || answer instanceof Socket) resolve(answer);
        else reject(error ?? new FairleadError('DOCKER_ERROR', 'Docker gave no answer'));
      });
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** docker-modem inspects all that it is given, in full depth, for a debug line that nobody reads: half of a call's time. */
function opaque<T extends object>(value: T): T {
  return Object.defineProperty(value, inspect.custom, { value: () => '…' });
}

/**
 * docker-modem takes what is not given from the environment (DOCKER_HOST and its like), so everything is given. It reads
 * DOCKER_HOST all the same, and fails for one that it does not understand, as that of a host behind a mesh.
 */
function openModem(address: DockerAddress, agent: Agent): DockerModem {
  const target =
    'socketPath' in address
      ? { socketPath: address.socketPath, host: '', port: undefined }
      : { host: address.host, port: address.port };
  const nothing = { ca: undefined, cert: undefined, key: undefined, timeout: undefined, version: undefined };
  const options: object = { ...target, ...nothing, protocol: 'http', pathPrefix: '/', agent };
  // biome-ignore lint/nursery/noJsRestrictedProperties: nothing is read here that another program would not have read
  const { env } = process;
  const others = env['DOCKER_HOST'];
  delete env['DOCKER_HOST'];
  try {
    return new Docker(options).modem;
  } finally {
    if (others !== undefined) env['DOCKER_HOST'] = others;
  }
}
