/** What the streams of a session do over any transport. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_ITEM_BYTES } from '../../shared/limits.ts';
import { heartbeat, heartbeatAck } from '../../shared/messages/control.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import {
  anyKind,
  callKind,
  execKind,
  listKind,
  logKind,
  type MuxPairOptions,
  pipeKind,
  putKind,
  readAll,
  serverOnlyKind,
  settle,
} from '../support/mux.ts';
import { answering, code, servedOver, serving } from '../support/mux-handlers.ts';
import type { Network } from '../support/mux-transports.ts';

const MIB = 1024 * 1024;

export function muxConformance(name: string, makeNetwork: () => Promise<Network>): void {
  describe(`mux over ${name}`, () => {
    let network: Network;
    before(async () => {
      network = await makeNetwork();
    });
    after(() => network.close());

    const ready = (options: MuxPairOptions = {}) => servedOver(network, options);

    test('both ends call each other', async () => {
      await using pair = await ready();
      assert.deepEqual(await pair.server.open(callKind, { text: 'from the server' }).reply, {
        text: 'from the server!',
      });
      assert.deepEqual(await pair.agent.open(callKind, { text: 'from the agent' }).reply, { text: 'from the agent!' });
      await settle();
      assert.equal(pair.server.openStreams, 0);
      assert.equal(pair.agent.openStreams, 0);
    });

    test('server ids are even, agent ids odd, and they only rise', async () => {
      await using pair = await ready();
      const ids = async (session: Session) => {
        const streams = [1, 2, 3].map(() => session.open(callKind, { text: '' }));
        await Promise.all(streams.map((stream) => stream.reply));
        return streams.map((stream) => stream.id);
      };
      assert.deepEqual(await ids(pair.server), [2, 4, 6]);
      assert.deepEqual(await ids(pair.agent), [1, 3, 5]);
    });

    test('bytes arrive whole and in order, both ways at once, far beyond the window', async () => {
      await using pair = await ready();
      const sent = randomBytes(6 * MIB);
      const stream = pair.server.open(pipeKind, {});
      stream.bytes.end(sent);
      const got = await readAll(stream.bytes);
      assert.equal(createHash('sha256').update(got).digest('hex'), createHash('sha256').update(sent).digest('hex'));
      assert.equal(await stream.closed, undefined);
    });

    test('many streams at once keep their bytes apart', async () => {
      await using pair = await ready();
      const results = await Promise.all(
        Array.from({ length: 40 }, async (_, index) => {
          const opener = index % 2 === 0 ? pair.server : pair.agent;
          const stream = opener.open(pipeKind, {});
          const sent = Buffer.alloc(100_000 + index, index);
          stream.bytes.end(sent);
          return sent.equals(await readAll(stream.bytes));
        }),
      );
      assert.ok(results.every(Boolean));
    });

    test('a half-close reaches the other end, and its answer still comes back', async () => {
      await using pair = await ready();
      const stream = pair.server.open(execKind, {});
      stream.signal({ resize: 7 });
      await stream.reply;
      stream.bytes.write('in');
      stream.bytes.end('put');
      assert.equal((await readAll(stream.bytes)).toString(), 'input');
      assert.deepEqual(await stream.trailer, { code: 7 });
      assert.equal(await stream.closed, undefined);
    });

    test('items arrive in order, and reading them to the end is a clean end', async () => {
      await using pair = await ready();
      const stream = pair.server.open(listKind, {});
      let next = 0;
      for await (const item of stream.items()) {
        assert.equal(item.n, next);
        assert.equal(item.fill?.length, next);
        next += 1;
      }
      assert.equal(next, 1000);
      assert.equal(await stream.closed, undefined);
    });

    test('a reader that leaves the items ends the work at the other end', async () => {
      const taken: MuxStream[] = [];
      await using pair = await ready({ onAgent: answering(taken) });
      const stream = pair.server.open(listKind, {});
      await stream.reply;
      const work = taken[0] as unknown as MuxStream<typeof listKind>;
      void work.sendItem({ n: 0 });
      for await (const _ of stream.items()) break;
      assert.ok(code('CANCELLED')(await work.closed));
      assert.ok(code('CANCELLED')(work.aborted.reason));
    });

    test('bytes of one direction only', async () => {
      await using pair = await ready();
      assert.equal((await readAll(pair.server.open(logKind, {}).bytes)).toString(), 'first last');
      const put = pair.server.open(putKind, {});
      put.bytes.end(Buffer.alloc(MIB));
      assert.deepEqual(await put.reply, { bytes: MIB });
      assert.equal(await put.closed, undefined);
    });

    test('messages far beyond one frame and one window arrive whole', async () => {
      const value = { text: 'x'.repeat(3 * MIB) };
      const big = { text: 'y'.repeat(MAX_ITEM_BYTES - 64) };
      await using pair = await ready({
        onAgent(stream) {
          stream.sendReply(value);
          void (stream as unknown as MuxStream<typeof anyKind>).sendItem(big);
          void (stream as unknown as MuxStream<typeof anyKind>).sendItem(big);
          stream.finish();
        },
      });
      const stream = pair.server.open(anyKind, null);
      assert.deepEqual(await stream.reply, value);
      let items = 0;
      for await (const item of stream.items()) {
        assert.deepEqual(item, big);
        items += 1;
      }
      assert.equal(items, 2);
    });

    test('an error of the handler comes back with its code, and other streams live on', async () => {
      await using pair = await ready();
      await assert.rejects(pair.server.open(serverOnlyKind, { text: '' }).reply, code('UNSUPPORTED'));
      assert.deepEqual(await pair.server.open(callKind, { text: 'still' }).reply, { text: 'still!' });
      assert.equal(pair.server.stats.resetsByCode.get('UNSUPPORTED'), 1);
    });

    test('a reset ends both directions at both ends', async () => {
      const taken: MuxStream[] = [];
      await using pair = await ready({ onAgent: answering(taken) });
      const stream = pair.server.open(pipeKind, {});
      await stream.reply;
      const read = readAll(stream.bytes);
      stream.reset(new FairleadError('CONFLICT', 'enough'));
      stream.reset(new FairleadError('TIMEOUT', 'a second reset changes nothing'));
      await assert.rejects(read, code('CONFLICT'));
      const other = taken[0] as MuxStream;
      assert.ok(code('CONFLICT')(await other.closed));
      await assert.rejects(readAll(other.bytes), code('CONFLICT'));
      assert.equal(pair.server.openStreams + pair.agent.openStreams, 0);
    });

    test('destroying the bytes of a stream stops the sender', async () => {
      const taken: MuxStream[] = [];
      await using pair = await ready({ onAgent: answering(taken) });
      const stream = pair.server.open(logKind, {});
      await stream.reply;
      const log = taken[0] as MuxStream;
      log.bytes.write(Buffer.alloc(MIB));
      await once(stream.bytes, 'readable');
      stream.bytes.destroy();
      assert.ok(code('CANCELLED')(await log.closed));
    });

    test('an abort signal resets the stream', async () => {
      const taken: MuxStream[] = [];
      await using pair = await ready({ onAgent: (stream) => taken.push(stream) });
      const controller = new AbortController();
      const stream = pair.server.open(callKind, { text: '' }, { signal: controller.signal });
      await pair.server.ping();
      controller.abort();
      await assert.rejects(stream.reply, code('CANCELLED'));
      assert.ok(code('CANCELLED')(await taken[0]?.closed));
      assert.throws(() => pair.server.open(callKind, { text: '' }, { signal: controller.signal }), code('CANCELLED'));
    });

    test('a reader that stops holds up its own stream alone', async () => {
      await using pair = await ready({
        onAgent(stream) {
          if (stream.kind.code !== logKind.code) return serving(stream);
          stream.sendReply({});
          stream.bytes.write(Buffer.alloc(8 * MIB));
        },
      });
      const stalled = pair.server.open(logKind, {});
      await stalled.reply;
      const sent = Buffer.alloc(2 * MIB, 1);
      const live = pair.server.open(pipeKind, {});
      live.bytes.end(sent);
      assert.ok((await readAll(live.bytes)).equals(sent));
      assert.ok(stalled.flow.received <= 256 * 1024, 'no more than the initial window came');
      assert.equal(stalled.flow.taken, 0);
    });

    test('ping measures a round trip', async () => {
      await using pair = await ready();
      const ms = await pair.agent.ping();
      assert.ok(ms >= 0 && ms < 10_000);
    });

    test('control messages reach the other end', async () => {
      const heard: string[] = [];
      await using pair = await ready({ onControl: (kind) => heard.push(kind.name) });
      pair.agent.sendControl(heartbeat, { seq: 1, time: 0, load: [0, 0, 0], streams: 0, docker: { reachable: false } });
      pair.server.sendControl(heartbeatAck, { seq: 1, time: 0 });
      await pair.agent.ping();
      await pair.server.ping();
      assert.deepEqual(heard.sort(), ['heartbeat', 'heartbeat.ack']);
    });
  });
}
