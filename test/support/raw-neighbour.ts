/** A session that has nothing to do with an attack in the same process, and calls all the while. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { FairleadError } from '../../shared/errors.ts';
import { callKind, type MuxPair, readyOver, readyPair } from './mux.ts';
import type { Network } from './mux-transports.ts';

/** Between two calls. */
const EVERY_MS = 2;
/** Far more than a call takes on a machine with other things to do, and far less than a stalled process would need. */
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

  async function call(): Promise<number> {
    const from = performance.now();
    assert.deepEqual(await pair.agent.open(callKind, { text: 'still here' }).reply, { text: 'still here' });
    return performance.now() - from;
  }

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
      assert.ok(slowest < PROMPT_MS, `the neighbour waited ${slowest} ms for an answer`);
      return result;
    },
    close: () => pair.agent.destroy(new FairleadError('SHUTDOWN', 'the test is over')),
  };
}
