/** Frames for a stream that is closed: those that can have been on their way are let go, others end the session. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../../shared/errors.ts';
import { CLOSED_STREAM_GRACE_MS, SILENCE_MS } from '../../shared/limits.ts';
import { ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { FLAGS } from '../../shared/mux/frame.ts';
import { callKind, pipeKind, settle } from '../support/mux.ts';
import {
  type Attack,
  attack,
  barePeer,
  endOf,
  expectEnded,
  frame,
  pack,
  resetFrame,
  smallChunk,
} from '../support/mux-faults.ts';

const { OPEN, END } = FLAGS;
const { reply, item, trailer } = MECHANICS;
const DATA = MECHANICS['stream.data'];
const WINDOW = MECHANICS['stream.window'];
const SIGNAL = MECHANICS['stream.signal'];
const STREAM_END = MECHANICS['stream.end'];

/** Every frame that can have been on its way to a stream when it closed. */
const lateFrames = (id: number) => [
  frame(DATA, id, 0, smallChunk),
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

describe('frames for a stream that is closed', () => {
  const ways: [name: string, close: (scene: Attack) => number][] = [
    [
      'reset by the victim',
      (scene) => {
        endOf(scene, scene.ids.theirs.pipe).reset(new FairleadError('CONFLICT', 'no'));
        return scene.ids.theirs.pipe;
      },
    ],
    [
      "the victim's own, reset by the victim",
      (scene) => {
        endOf(scene, scene.ids.mine.exec).reset(new FairleadError('CANCELLED', 'no'));
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
        endOf(scene, scene.ids.theirs.pipe).bytes.end();
        endOf(scene, scene.ids.theirs.pipe).bytes.resume();
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
    send(frame(DATA, 1, 0, smallChunk));
    await expectEnded(server, 'PROTOCOL_ERROR');
    assert.equal(clock.pendingTimers, 0);
  });

  test('an unknown type is a breach within the grace, too', async () => {
    const scene = await attack('server');
    const id = scene.ids.theirs.pipe;
    endOf(scene, id).reset(new FairleadError('CONFLICT', 'no'));
    scene.send(frame(0x0109, id, 0, smallChunk));
    await scene.expectEnd('PROTOCOL_ERROR', [id]);
  });

  test('its id cannot be opened again', async () => {
    const scene = await attack('server');
    const id = scene.ids.theirs.pipe;
    endOf(scene, id).reset(new FairleadError('CONFLICT', 'no'));
    scene.send(frame(pipeKind.code, id, OPEN, pack({})));
    await scene.expectEnd('PROTOCOL_ERROR', [id]);
  });
});
