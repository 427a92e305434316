/** Streams under fault: frames that come late, credit that is overdrawn, ends in every order, and a peer that goes away. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { CLOSED_STREAM_GRACE_MS, INITIAL_WINDOW_BYTES, SILENCE_MS } from '../../shared/limits.ts';
import { goaway, ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { FLAGS } from '../../shared/mux/frame.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { callKind, pipeKind, settle } from '../support/mux.ts';
import { type Attack, attack, barePeer, expectEnded, expectInterrupted, frame, pack } from '../support/mux-faults.ts';
import { within } from '../support/wait.ts';

const { OPEN, END } = FLAGS;
const { reply, item, trailer } = MECHANICS;
const DATA = MECHANICS['stream.data'];
const WINDOW = MECHANICS['stream.window'];
const RESET = MECHANICS['stream.reset'];
const SIGNAL = MECHANICS['stream.signal'];
const STREAM_END = MECHANICS['stream.end'];
const chunk = pack(new Uint8Array(3));
const resetFrame = (id: number) => frame(RESET, id, 0, pack({ code: 'CANCELLED', message: 'enough' }));

function end(scene: Attack, id: number): MuxStream {
  const stream = scene.ends.victim.get(id);
  assert.ok(stream);
  return stream;
}

/** Every frame that can have been on its way to a stream when it closed. */
const lateFrames = (id: number) => [
  frame(DATA, id, 0, chunk),
  frame(WINDOW, id, 0, pack({ limit: 2 ** 40 })),
  frame(SIGNAL, id, 0, pack({ resize: 1 })),
  frame(item, id, 0, pack({ n: 1 })),
  frame(trailer, id, 0, pack({ code: 0 })),
  frame(reply, id, 0, pack({})),
  frame(STREAM_END, id, END),
  resetFrame(id),
];

/** Lets time pass while both ends hear of each other. */
async function pass(scene: Attack, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= SILENCE_MS / 3) {
    scene.clock.advance(Math.min(left, SILENCE_MS / 3));
    await Promise.all([scene.victim.ping(), scene.attacker.ping()]);
  }
}

/** Lets bytes flow: what may be in flight goes by acks and by the time between them, so the clock must run. */
async function flowing(scene: Attack, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 1) {
    scene.clock.advance(1);
    await settle(2);
  }
}

describe('frames for a stream that is closed', () => {
  const ways: [name: string, close: (scene: Attack) => number][] = [
    [
      'reset by the victim',
      (scene) => {
        end(scene, scene.ids.theirs.pipe).reset(new FairleadError('CONFLICT', 'no'));
        return scene.ids.theirs.pipe;
      },
    ],
    [
      "the victim's own, reset by the victim",
      (scene) => {
        end(scene, scene.ids.mine.exec).reset(new FairleadError('CANCELLED', 'no'));
        return scene.ids.mine.exec;
      },
    ],
    [
      'reset by the attacker',
      (scene) => {
        scene.send(resetFrame(scene.ids.theirs.pipe));
        return scene.ids.theirs.pipe;
      },
    ],
    [
      'ended by both',
      (scene) => {
        end(scene, scene.ids.theirs.pipe).bytes.end();
        end(scene, scene.ids.theirs.pipe).bytes.resume();
        scene.send(frame(STREAM_END, scene.ids.theirs.pipe, END));
        return scene.ids.theirs.pipe;
      },
    ],
  ];
  for (const [name, close] of ways) {
    test(`${name}: dropped within the grace`, async () => {
      const scene = await attack('server');
      const id = close(scene);
      await settle();
      const before = scene.victim.stats.framesDropped;
      scene.send(...lateFrames(id));
      await settle();
      await pass(scene, CLOSED_STREAM_GRACE_MS - 1);
      scene.send(...lateFrames(id));
      await settle();
      assert.equal(scene.victim.stats.framesDropped - before, 2 * lateFrames(id).length);
      await scene.expectAlive();
    });

    for (const late of lateFrames(0).keys()) {
      test(`${name}: frame ${late} after the grace is a breach`, async () => {
        const scene = await attack('agent');
        const id = close(scene);
        await settle();
        await pass(scene, 2 * CLOSED_STREAM_GRACE_MS);
        scene.send(lateFrames(id)[late] as Uint8Array);
        await scene.expectEnd('PROTOCOL_ERROR', [id]);
      });
    }
  }

  test('refused for its parameters: dropped within the grace, a breach after it', async () => {
    const { clock, server, send } = await barePeer();
    send(frame(callKind.code, 1, OPEN | END, pack({ text: 1 })), ...lateFrames(1));
    await settle();
    assert.equal(server.stats.framesDropped, lateFrames(1).length);
    for (let seq = 0; seq < 4; seq += 1) {
      clock.advance(CLOSED_STREAM_GRACE_MS / 2);
      send(frame(ping.code, 0, 0, pack({ id: seq })));
      await settle();
    }
    send(frame(DATA, 1, 0, chunk));
    await expectEnded(server, 'PROTOCOL_ERROR');
    assert.equal(clock.pendingTimers, 0);
  });

  test('an unknown type is a breach within the grace, too', async () => {
    const scene = await attack('server');
    const id = scene.ids.theirs.pipe;
    end(scene, id).reset(new FairleadError('CONFLICT', 'no'));
    scene.send(frame(0x0109, id, 0, chunk));
    await scene.expectEnd('PROTOCOL_ERROR', [id]);
  });

  test('its id cannot be opened again', async () => {
    const scene = await attack('server');
    const id = scene.ids.theirs.pipe;
    end(scene, id).reset(new FairleadError('CONFLICT', 'no'));
    scene.send(frame(pipeKind.code, id, OPEN, pack({})));
    await scene.expectEnd('PROTOCOL_ERROR', [id]);
  });
});

describe('credit', () => {
  for (const victim of ['server', 'agent'] as const) {
    test(`one byte beyond the window of an unread stream at the ${victim}`, async () => {
      const scene = await attack(victim);
      const id = scene.ids.theirs.pipe;
      scene.ends.attacker.get(id)?.bytes.write(Buffer.alloc(INITIAL_WINDOW_BYTES));
      await flowing(scene, 100);
      assert.equal(end(scene, id).flow.received, INITIAL_WINDOW_BYTES);
      scene.send(frame(DATA, id, 0, pack(new Uint8Array(1))));
      await scene.expectEnd('FLOW_CONTROL_ERROR');
    });

    test(`one byte beyond the window in one frame at the ${victim}`, async () => {
      const scene = await attack(victim);
      scene.send(frame(DATA, scene.ids.theirs.pipe, END, pack(new Uint8Array(INITIAL_WINDOW_BYTES + 1))));
      await scene.expectEnd('FLOW_CONTROL_ERROR');
    });

    test(`one byte of an item beyond the window at the ${victim}`, async () => {
      const scene = await attack(victim);
      const id = scene.ids.mine.list;
      const whole = pack({ n: 1, fill: 'x'.repeat(INITIAL_WINDOW_BYTES - 20) });
      scene.send(frame(item, id, 0, whole));
      await settle();
      const left = INITIAL_WINDOW_BYTES - whole.byteLength;
      assert.equal(end(scene, id).flow.received, whole.byteLength);
      scene.send(frame(item, id, FLAGS.MORE, new Uint8Array(left + 1)));
      await scene.expectEnd('FLOW_CONTROL_ERROR');
    });
  }

  test('the last byte of the window is allowed, and an empty chunk behind it', async () => {
    const scene = await attack('server');
    const id = scene.ids.theirs.pipe;
    const whole = frame(DATA, id, 0, pack(new Uint8Array(INITIAL_WINDOW_BYTES)));
    scene.send(whole, frame(DATA, id, 0, pack(new Uint8Array(0))));
    await settle(2);
    const { received, receiveLimit } = end(scene, id).flow;
    assert.equal(received, INITIAL_WINDOW_BYTES);
    assert.equal(receiveLimit, INITIAL_WINDOW_BYTES, 'nothing was read, so nothing is granted');
    scene.send(frame(DATA, id, 0, pack(new Uint8Array(1))));
    // The attacker may end first: it was told of bytes that its own session never sent.
    const ended = await within(1000, 'the end', scene.victim.closed);
    assert.ok(['FLOW_CONTROL_ERROR', 'PROTOCOL_ERROR'].includes(ended.code));
  });

  test('the same limit again is allowed; the highest one of all does not overflow', async () => {
    const scene = await attack('server');
    const id = scene.ids.theirs.pipe;
    for (const limit of [
      INITIAL_WINDOW_BYTES,
      INITIAL_WINDOW_BYTES,
      Number.MAX_SAFE_INTEGER,
      Number.MAX_SAFE_INTEGER,
    ]) {
      scene.send(frame(WINDOW, id, 0, pack({ limit })));
    }
    await settle();
    assert.equal(end(scene, id).flow.sendLimit, Number.MAX_SAFE_INTEGER);
    await scene.expectAlive();
  });

  test('no limit goes beyond what reset and ended streams leave: credit does not leak', async () => {
    const scene = await attack('server');
    const bytes = Buffer.alloc(INITIAL_WINDOW_BYTES / 2);
    const held = () => scene.victim.stats.memoryBytes;
    const before = held();
    for (let round = 0; round < 300; round += 1) {
      const stream = scene.attacker.open(pipeKind, {});
      stream.bytes.write(bytes);
      await flowing(scene, 2);
      assert.ok(held() >= before + INITIAL_WINDOW_BYTES, 'an open stream counts');
      stream.reset(new FairleadError('CANCELLED', 'next'));
      await settle(2);
    }
    assert.equal(held(), before);
    await scene.expectAlive();
  });
});

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
        const taken = end(scene, scene.ids.mine.list).items()[Symbol.asyncIterator]().next();
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
        const exec = end(scene, scene.ids.theirs.exec);
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
        const pipe = end(scene, scene.ids.theirs.pipe);
        pipe.bytes.on('data', () => {
          throw new Error('the application is broken');
        });
        scene.send(frame(DATA, pipe.id, 0, chunk));
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
        const closed = await within(1000, 'the end of the stream', end(scene, id).closed);
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
      const ends = { opener: end(scene, scene.ids.mine.pipe), acceptor: scene.ends.attacker.get(scene.ids.mine.pipe) };
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
      const ends = { opener: end(scene, scene.ids.mine.pipe), acceptor: scene.ends.attacker.get(scene.ids.mine.pipe) };
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
      const ends = { opener: end(scene, scene.ids.mine.pipe), acceptor: scene.ends.attacker.get(scene.ids.mine.pipe) };
      ends[first]?.bytes.end();
      await settle();
      scene.send(frame(0xffff, 0));
      await scene.expectEnd('PROTOCOL_ERROR');
      assert.ok(ends[second]);
    });
  }

  test('both end in the same moment', async () => {
    const scene = await attack('agent');
    const one = end(scene, scene.ids.mine.pipe);
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
    assert.equal((await end(scene, id).closed)?.code, 'CANCELLED');
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
      for (const id of [mine.list, mine.call, mine.log]) await expectInterrupted(end(scene, id));
      for (const id of [mine.pipe, mine.exec, theirs.pipe, theirs.exec, theirs.list, theirs.call]) {
        assert.notEqual(end(scene, id).state, 'closed', `stream ${id}`);
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
    for (const id of Object.values(mine)) await expectInterrupted(end(scene, id));
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
    for (const id of [mine.exec, mine.list, mine.call, mine.log]) await expectInterrupted(end(scene, id));
    assert.notEqual(end(scene, mine.pipe).state, 'closed');
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
    scene.send(frame(DATA, scene.ids.theirs.pipe, 0, chunk));
    await settle();
    assert.equal(scene.victim.openStreams, 9);
    scene.clock.advance(1);
    await within(1000, 'the end', gone);
    for (const stream of scene.ends.victim.values()) await expectInterrupted(stream);
    assert.equal((await scene.attacker.closed).code, 'SHUTDOWN');
    assert.equal(scene.clock.pendingTimers, 0);
  });
});
