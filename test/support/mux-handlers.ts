/** Handlers for the kinds of the mux's tests. */
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import {
  callKind,
  execKind,
  listKind,
  logKind,
  type MuxPairOptions,
  pipeKind,
  putKind,
  readAll,
  readyOver,
} from './mux.ts';
import type { Network } from './mux-transports.ts';

/** A handler as an agent has one per kind. */
async function serve(stream: MuxStream): Promise<void> {
  switch (stream.kind.code) {
    case callKind.code: {
      const call = stream as unknown as MuxStream<typeof callKind>;
      call.sendReply({ text: `${call.params.text}!` });
      break;
    }
    case pipeKind.code: {
      const pipe = stream as unknown as MuxStream<typeof pipeKind>;
      pipe.sendReply({});
      await pipeline(pipe.bytes, pipe.bytes);
      break;
    }
    case execKind.code: {
      const exec = stream as unknown as MuxStream<typeof execKind>;
      let resized = 0;
      exec.onSignal(({ resize }) => {
        resized = resize;
      });
      exec.sendReply({});
      for await (const chunk of exec.bytes) if (!exec.bytes.write(chunk)) await once(exec.bytes, 'drain');
      exec.finish({ code: resized });
      break;
    }
    case listKind.code: {
      const list = stream as unknown as MuxStream<typeof listKind>;
      list.sendReply({});
      for (let n = 0; n < 1000; n += 1) await list.sendItem({ n, fill: 'x'.repeat(n) });
      list.finish();
      break;
    }
    case logKind.code: {
      const log = stream as unknown as MuxStream<typeof logKind>;
      log.sendReply({});
      log.bytes.write('first ');
      log.bytes.end('last');
      break;
    }
    case putKind.code: {
      const put = stream as unknown as MuxStream<typeof putKind>;
      const bytes = await readAll(put.bytes);
      put.sendReply({ bytes: bytes.byteLength });
      put.finish();
      break;
    }
    default:
      throw new FairleadError('UNSUPPORTED', `nobody serves ${stream.kind.name}`);
  }
}

/** Serves a stream; what its handler fails with is the code of its reset. */
export function serving(stream: MuxStream): void {
  serve(stream).catch((error: unknown) => {
    if (!stream.aborted.aborted) stream.reset(error as FairleadError);
  });
}

/** A handler that answers and then does nothing more. */
export function answering(taken: MuxStream[]): (stream: MuxStream) => void {
  return (stream) => {
    taken.push(stream);
    stream.sendReply({});
  };
}

/** Whether an error is of this code. */
export const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;

/** Two sessions over a connection of `network`, whose ends serve each other unless `options` say otherwise. */
export async function servedOver(network: Network, options: MuxPairOptions = {}) {
  const transports = await network.connect();
  const pair = await readyOver(transports, { onAgent: serving, onServer: serving, ...options });
  const end = async () => {
    await pair.server.goaway({ code: 'SHUTDOWN', reason: 'the test is over', deadlineMs: 0 });
    await pair.agent.closed;
  };
  return { ...pair, transports, [Symbol.asyncDispose]: end };
}
