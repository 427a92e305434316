/** How a session begins and ends over any transport. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FairleadError } from '../../shared/errors.ts';
import { greetServer, receiveHello } from '../../shared/mux/handshake.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import {
  callKind,
  execKind,
  HELLO,
  logKind,
  type MuxPairOptions,
  pipeKind,
  readAll,
  sessionsOver,
} from '../support/mux.ts';
import { answering, code, servedOver } from '../support/mux-handlers.ts';
import type { Network } from '../support/mux-transports.ts';

export function muxEndsConformance(name: string, makeNetwork: () => Promise<Network>): void {
  describe(`begin and end of a mux over ${name}`, () => {
    let network: Network;
    before(async () => {
      network = await makeNetwork();
    });
    after(() => network.close());

    const ready = (options: MuxPairOptions = {}) => servedOver(network, options);

    test('goaway lets running streams finish and takes no new ones', async () => {
      await using pair = await ready();
      const stream = pair.server.open(pipeKind, {});
      await stream.reply;
      const gone = pair.agent.goaway({ code: 'SHUTDOWN', reason: 'the agent stops', retryAfterMs: 50 });
      await pair.agent.ping();
      assert.throws(() => pair.server.open(callKind, { text: '' }), code('SHUTDOWN'));
      assert.throws(() => pair.agent.open(callKind, { text: '' }), code('SHUTDOWN'));
      stream.bytes.end('the rest');
      assert.equal((await readAll(stream.bytes)).toString(), 'the rest');
      assert.equal(await stream.closed, undefined);
      await gone;
      assert.deepEqual(await pair.server.closed, {
        code: 'SHUTDOWN',
        reason: 'the agent stops',
        by: 'remote',
        retryAfterMs: 50,
      });
      assert.equal((await pair.agent.closed).by, 'local');
    });

    test('goaway interrupts what is still running at the deadline', async () => {
      const taken: MuxStream[] = [];
      await using pair = await ready({ onAgent: answering(taken) });
      const stream = pair.server.open(pipeKind, {});
      await stream.reply;
      await pair.server.goaway({ code: 'SHUTDOWN', reason: 'now', deadlineMs: 20 });
      assert.ok(code('STREAM_INTERRUPTED')(await stream.closed));
      const error = await taken[0]?.closed;
      assert.ok(code('STREAM_INTERRUPTED')(error));
      assert.match(String(error), /SHUTDOWN/);
    });

    test('a destroyed session tells the other end why', async () => {
      await using pair = await ready();
      const stream = pair.server.open(pipeKind, {});
      await stream.reply;
      pair.server.destroy(new FairleadError('CERT_REVOKED', 'revoked by the administrator'));
      pair.server.destroy(new FairleadError('INTERNAL', 'a second end changes nothing'));
      const why = { code: 'CERT_REVOKED', reason: 'revoked by the administrator' };
      assert.deepEqual(await pair.agent.closed, { ...why, by: 'remote' });
      assert.deepEqual(await pair.server.closed, { ...why, by: 'local' });
      await assert.rejects(readAll(stream.bytes), code('STREAM_INTERRUPTED'));
      assert.throws(() => pair.server.open(callKind, { text: '' }), code('STREAM_INTERRUPTED'));
    });

    test('a broken connection interrupts every stream, and none ends cleanly', async () => {
      const taken: MuxStream[] = [];
      await using pair = await ready({ onAgent: answering(taken) });
      const streams = [pipeKind, execKind, logKind].map((kind) => pair.server.open(kind, {}));
      await Promise.all(streams.map((stream) => stream.reply));
      const unanswered = pair.agent.open(callKind, { text: '' });
      pair.transports.cut();
      for (const stream of [...streams, ...taken]) assert.ok(code('STREAM_INTERRUPTED')(await stream.closed));
      for (const stream of streams) await assert.rejects(readAll(stream.bytes), code('STREAM_INTERRUPTED'));
      await unanswered.closed;
      assert.equal((await pair.server.closed).by, 'network');
      assert.equal((await pair.agent.closed).by, 'network');
      await assert.rejects(pair.server.ping(), code('STREAM_INTERRUPTED'));
    });

    test('no common version: both sides learn which there are', async () => {
      const pair = sessionsOver(await network.connect());
      const greeting = greetServer(pair.agent, { ...HELLO, versions: [7] });
      await Promise.all([
        assert.rejects(receiveHello(pair.server), code('VERSION')),
        assert.rejects(greeting, code('VERSION')),
      ]);
      assert.deepEqual((await pair.agent.closed).versions, [1]);
      assert.equal((await pair.server.closed).code, 'VERSION');
    });

    test('an agent that is turned away before the welcome learns why', async () => {
      const pair = sessionsOver(await network.connect());
      const greeting = greetServer(pair.agent, HELLO);
      await receiveHello(pair.server);
      pair.server.destroy(new FairleadError('CERT_REVOKED', 'this host was revoked'));
      await assert.rejects(greeting, code('CERT_REVOKED'));
      const end = await pair.agent.closed;
      assert.equal(end.code, 'CERT_REVOKED');
      assert.equal(end.by, 'remote');
    });
  });
}
