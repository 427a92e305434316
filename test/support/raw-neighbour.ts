/** A session that has nothing to do with an attack in the same process, and calls all the while. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { FairleadError } from '../../shared/errors.ts';
import { cpuMs } from './cpu-time.ts';
import { callKind, type MuxPair, readyOver, readyPair } from './mux.ts';
import type { Network } from './mux-transports.ts';
import { within } from './wait.ts';

/** Between two calls. */
const EVERY_MS = 2;
/**
 * What an answer may take, in ms that this process had to run, and in ms of its work: far more than a call takes, and
 * far less than a stalled process would need. What other programs take of the machine is in neither.
 */
const PROMPT_MS = 500;

export interface Neighbour {
  /** Runs an attack while the neighbour calls; each call must be answered promptly. */
  meanwhile<T>(attack: () => Promise<T>): Promise<T>;
  close(): void;
}

/** @param network where the neighbour connects; memory unless given */
export async function neighbour(network?: Network): Promise<Neighbour> {
  const onServer: Parameters<typeof readyPair>[0] = { onServer: (stream) => stream.sendReply(stream.params) };
  const pair: MuxPair =
    network === undefined ? await readyPair(onServer) : await readyOver(await network.connect(), onServer);

  const call = () =>
    cpuMs(async () => {
      const { reply } = pair.agent.open(callKind, { text: 'still here' });
      assert.deepEqual(await within(PROMPT_MS, 'an answer to the neighbour', reply), { text: 'still here' });
    });

  return {
    async meanwhile(attack) {
      let over = false;
      const attacking = attack().finally(() => {
        over = true;
      });
      let slowest = 0;
      do {
        slowest = Math.max(slowest, await call());
        await sleep(EVERY_MS);
      } while (!over);
      const result = await attacking;
      slowest = Math.max(slowest, await call());
      assert.ok(slowest < PROMPT_MS, `the neighbour waited for ${slowest} ms of work`);
      return result;
    },
    close: () => pair.agent.destroy(new FairleadError('SHUTDOWN', 'the test is over')),
  };
}
