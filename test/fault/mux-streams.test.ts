/** Streams under fault: what one that fails does not take with it, ends in every order, and a peer that goes away. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { SILENCE_MS } from '../../shared/limits.ts';
import { goaway } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { FLAGS } from '../../shared/mux/frame.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { pipeKind, settle } from '../support/mux.ts';
import {
  type Attack,
  attack,
  endOf,
  expectInterrupted,
  frame,
  pack,
  resetFrame,
  smallChunk,
} from '../support/mux-faults.ts';
import { within } from '../support/wait.ts';

const { END } = FLAGS;
const { reply, item, trailer } = MECHANICS;
const DATA = MECHANICS['stream.data'];

const RESET = MECHANICS['stream.reset'];
const SIGNAL = MECHANICS['stream.signal'];
const STREAM_END = MECHANICS['stream.end'];

describe('what a stream that fails does not take with it', () => {
  const cases: [name: string, code: string, act: (scene: Attack) => number][] = [
    [
      'a reply beside its schema',
      'MESSAGE_INVALID',
      (scene) => {
        scene.send(frame(reply, scene.ids.mine.call, END, pack({ text: 1 })));
        return scene.ids.mine.call;
      },
    ],
    [
      'an item beside its schema',
      'MESSAGE_INVALID',
      (scene) => {
        scene.send(frame(item, scene.ids.mine.list, 0, pack({ n: 'one' })));
        const taken = endOf(scene, scene.ids.mine.list).items()[Symbol.asyncIterator]().next();
        taken.catch(() => undefined); // `closed` tells of it, too
        return scene.ids.mine.list;
      },
    ],
    [
      'a trailer beside its schema',
      'MESSAGE_INVALID',
      (scene) => {
        scene.send(frame(trailer, scene.ids.mine.exec, END, pack({ code: 'none' })));
        return scene.ids.mine.exec;
      },
    ],
    [
      'a signal beside its schema',
      'MESSAGE_INVALID',
      (scene) => {
        scene.send(frame(SIGNAL, scene.ids.theirs.exec, 0, pack({ resize: 'large' })));
        return scene.ids.theirs.exec;
      },
    ],
    [
      'a reset of an unknown code',
      'INTERNAL',
      (scene) => {
        scene.send(frame(RESET, scene.ids.theirs.pipe, 0, pack({ code: 'FROM_THE_FUTURE', message: 'why' })));
        return scene.ids.theirs.pipe;
      },
    ],
    [
      'a signal whose listener throws',
      'INTERNAL',
      (scene) => {
        const exec = endOf(scene, scene.ids.theirs.exec);
        exec.onSignal(() => {
          throw new Error('the application is broken');
        });
        scene.send(frame(SIGNAL, exec.id, 0, pack({ resize: 1 })));
        return exec.id;
      },
    ],
    [
      'a reader that throws',
      'INTERNAL',
      (scene) => {
        const pipe = endOf(scene, scene.ids.theirs.pipe);
        pipe.bytes.on('data', () => {
          throw new Error('the application is broken');
        });
        scene.send(frame(DATA, pipe.id, 0, smallChunk));
        return pipe.id;
      },
    ],
  ];
  for (const victim of ['server', 'agent'] as const) {
    for (const [name, code, act] of cases) {
      test(`${name} at the ${victim}: ${code}, at both ends, and the rest lives`, async () => {
        const scene = await attack(victim);
        const id = act(scene);
        await settle();
        const closed = await within(1000, 'the end of the stream', endOf(scene, id).closed);
        assert.equal(closed?.code, code);
        // A reset that was put on the wire is nothing that the attacker's own session knows of.
        const told = scene.ends.attacker.get(id)?.closed ?? Promise.resolve(undefined);
        if (!name.startsWith('a reset')) assert.equal((await within(1000, 'the reset', told))?.code, code);
        assert.equal(scene.victim.openStreams, 8);
        await scene.expectAlive();
      });
    }
  }
});

/** What comes until the other end's END; unlike `for await` it leaves the writable side alone. */
async function readToEnd(stream: MuxStream): Promise<string> {
  let text = '';
  stream.bytes.on('data', (bytes: Buffer) => {
    text += String(bytes);
  });
  await once(stream.bytes, 'end');
  return text;
}

describe('half-close', () => {
  const orders = [
    ['opener', 'acceptor'],
    ['acceptor', 'opener'],
  ] as const;
  for (const [first, second] of orders) {
    test(`the ${first} ends first, the ${second} goes on, and only then it is a clean end`, async () => {
      const scene = await attack('server');
      const ends = {
        opener: endOf(scene, scene.ids.mine.pipe),
        acceptor: scene.ends.attacker.get(scene.ids.mine.pipe),
      };
      const one = ends[first];
      const other = ends[second];
      assert.ok(one && other);
      const read = { one: readToEnd(one), other: readToEnd(other) };
      one.bytes.end('first');
      assert.equal(await within(1000, 'the first END', read.other), 'first');
      assert.equal(one.state, 'half-closed (local)');
      assert.equal(other.state, 'half-closed (remote)');
      other.bytes.write('then ');
      await settle();
      other.bytes.end('second');
      assert.equal(await within(1000, 'the second END', read.one), 'then second');
      assert.equal(await one.closed, undefined);
      assert.equal(await other.closed, undefined);
      await scene.expectAlive();
    });

    test(`the ${first} has ended when the ${second} resets: not a clean end`, async () => {
      const scene = await attack('server');
      const ends = {
        opener: endOf(scene, scene.ids.mine.pipe),
        acceptor: scene.ends.attacker.get(scene.ids.mine.pipe),
      };
      const one = ends[first];
      const other = ends[second];
      assert.ok(one && other);
      const read = readToEnd(one);
      one.bytes.end('first');
      await settle();
      other.reset(new FairleadError('CONFLICT', 'no'));
      await assert.rejects(read, (error) => isFairleadError(error, 'CONFLICT'));
      assert.equal((await one.closed)?.code, 'CONFLICT');
      await scene.expectAlive();
    });

    test(`the ${first} has ended when the session ends: not a clean end`, async () => {
      const scene = await attack('server');
      const ends = {
        opener: endOf(scene, scene.ids.mine.pipe),
        acceptor: scene.ends.attacker.get(scene.ids.mine.pipe),
      };
      ends[first]?.bytes.end();
      await settle();
      scene.send(frame(0xffff, 0));
      await scene.expectEnd('PROTOCOL_ERROR');
      assert.ok(ends[second]);
    });
  }

  test('both end in the same moment', async () => {
    const scene = await attack('agent');
    const one = endOf(scene, scene.ids.mine.pipe);
    const other = scene.ends.attacker.get(one.id);
    assert.ok(other);
    one.bytes.end('a');
    other.bytes.end('b');
    assert.deepEqual(await Promise.all([readToEnd(one), readToEnd(other)]), ['b', 'a']);
    assert.deepEqual([await one.closed, await other.closed], [undefined, undefined]);
    await scene.expectAlive();
  });

  test('END and a reset on top of it, in one moment: the reset wins, once', async () => {
    const scene = await attack('server');
    const id = scene.ids.theirs.pipe;
    scene.send(frame(STREAM_END, id, END), resetFrame(id), resetFrame(id));
    assert.equal((await endOf(scene, id).closed)?.code, 'CANCELLED');
    await scene.expectAlive();
  });
});

describe('goaway', () => {
  const goawayFrame = (lastStream: number, more: object = {}) =>
    frame(goaway.code, 0, 0, pack({ code: 'SHUTDOWN', reason: 'I leave', lastStream, ...more }));

  for (const victim of ['server', 'agent'] as const) {
    test(`the ${victim}'s streams above lastStream end at once, the others go on`, async () => {
      const scene = await attack(victim);
      const { mine, theirs } = scene.ids;
      scene.send(goawayFrame(mine.exec));
      await settle();
      for (const id of [mine.list, mine.call, mine.log]) await expectInterrupted(endOf(scene, id));
      for (const id of [mine.pipe, mine.exec, theirs.pipe, theirs.exec, theirs.list, theirs.call]) {
        assert.notEqual(endOf(scene, id).state, 'closed', `stream ${id}`);
      }
      assert.throws(
        () => scene.victim.open(pipeKind, {}),
        (error) => isFairleadError(error, 'SHUTDOWN'),
      );
      // What the attacker answers all the same is dropped.
      scene.send(frame(reply, mine.call, END, pack({ text: 'late' })));
      const late = scene.attacker.open(pipeKind, {});
      assert.equal((await within(1000, 'the refusal', late.closed))?.code, 'SHUTDOWN');
      assert.equal(scene.victim.openStreams, 6, 'a stream that comes after the goaway is not taken');
      assert.equal(scene.victim.stats.resetsByCode.get('SHUTDOWN'), 1);
    });
  }

  test('when the last stream has ended the session closes with the code that was announced', async () => {
    const scene = await attack('server');
    const { mine, theirs } = scene.ids;
    scene.send(goawayFrame(0, { code: 'REPLACED', retryAfterMs: 1234 }));
    await settle();
    for (const id of Object.values(mine)) await expectInterrupted(endOf(scene, id));
    for (const id of Object.values(theirs)) scene.send(resetFrame(id));
    const ended = await within(1000, 'the end', scene.victim.closed);
    assert.deepEqual(ended, { code: 'REPLACED', reason: 'I leave', by: 'remote', retryAfterMs: 1234 });
    assert.equal(scene.victim.openStreams, 0);
  });

  test('a second one with a lower lastStream interrupts more, but the first code stands', async () => {
    const scene = await attack('agent');
    const { mine } = scene.ids;
    scene.send(goawayFrame(mine.list), goawayFrame(mine.pipe, { code: 'INTERNAL' }), goawayFrame(0xffff));
    await settle();
    for (const id of [mine.exec, mine.list, mine.call, mine.log]) await expectInterrupted(endOf(scene, id));
    assert.notEqual(endOf(scene, mine.pipe).state, 'closed');
    scene.send(frame(0xffff, 0));
    await scene.expectEnd('PROTOCOL_ERROR');
  });

  test('a peer that announces its end and never goes is held to the silence limit', async () => {
    const scene = await attack('server');
    scene.send(goawayFrame(0));
    await settle();
    scene.clock.advance(SILENCE_MS);
    const ended = await within(1000, 'the end', scene.victim.closed);
    assert.equal(ended.by, 'local');
    assert.equal(scene.victim.openStreams, 0);
  });

  test('streams that outlast the deadline are interrupted, and a peer that keeps sending changes nothing', async () => {
    const scene = await attack('server');
    const gone = scene.victim.goaway({ code: 'SHUTDOWN', reason: 'the server stops', deadlineMs: 1000 });
    await settle();
    scene.clock.advance(999);
    scene.send(frame(DATA, scene.ids.theirs.pipe, 0, smallChunk));
    await settle();
    assert.equal(scene.victim.openStreams, 9);
    scene.clock.advance(1);
    await within(1000, 'the end', gone);
    for (const stream of scene.ends.victim.values()) await expectInterrupted(stream);
    assert.equal((await scene.attacker.closed).code, 'SHUTDOWN');
    assert.equal(scene.clock.pendingTimers, 0);
  });
});
