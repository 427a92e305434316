/** Credit that is overdrawn, and ids that were never given out. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FairleadError } from '../../shared/errors.ts';
import { INITIAL_WINDOW_BYTES } from '../../shared/limits.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { FLAGS } from '../../shared/mux/frame.ts';
import { pipeKind, settle } from '../support/mux.ts';
import { type Attack, attack, endOf, frame, pack } from '../support/mux-faults.ts';
import { within } from '../support/wait.ts';

const { END } = FLAGS;
const { item } = MECHANICS;
const DATA = MECHANICS['stream.data'];
const WINDOW = MECHANICS['stream.window'];

/** Lets bytes flow: what may be in flight goes by acks and by the time between them, so the clock must run. */
async function flowing(scene: Attack, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 1) {
    scene.clock.advance(1);
    await settle(2);
  }
}

describe('credit', () => {
  for (const victim of ['server', 'agent'] as const) {
    test(`one byte beyond the window of an unread stream at the ${victim}`, async () => {
      const scene = await attack(victim);
      const id = scene.ids.theirs.pipe;
      scene.ends.attacker.get(id)?.bytes.write(Buffer.alloc(INITIAL_WINDOW_BYTES));
      await flowing(scene, 100);
      assert.equal(endOf(scene, id).flow.received, INITIAL_WINDOW_BYTES);
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
      assert.equal(endOf(scene, id).flow.received, whole.byteLength);
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
    const { received, receiveLimit } = endOf(scene, id).flow;
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
    assert.equal(endOf(scene, id).flow.sendLimit, Number.MAX_SAFE_INTEGER);
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
