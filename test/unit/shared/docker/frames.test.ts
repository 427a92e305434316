import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Demuxer } from '../../../../shared/docker/frames.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { cutInto, dockerFrame } from '../../../support/docker-frames.ts';

function collect(): { demuxer: Demuxer; out: [number, string][] } {
  const out: [number, string][] = [];
  const demuxer = new Demuxer((stream, chunk, frameStart) => {
    const last = out.at(-1);
    if (frameStart || last === undefined) out.push([stream, chunk.toString('latin1')]);
    else last[1] += chunk.toString('latin1');
  });
  return { demuxer, out };
}

const THREE = Buffer.concat([dockerFrame(1, 'out one'), dockerFrame(2, 'err'), dockerFrame(1, 'out two')]);
const THREE_OUT = [
  [1, 'out one'],
  [2, 'err'],
  [1, 'out two'],
];

test('frames come out in order, whatever the pieces they arrive in', () => {
  for (let size = 1; size <= THREE.length; size++) {
    const { demuxer, out } = collect();
    for (const piece of cutInto(THREE, size)) demuxer.push(piece);
    demuxer.end();
    assert.deepEqual(out, THREE_OUT, `in pieces of ${size}`);
  }
});

test('an empty frame says nothing', () => {
  const { demuxer, out } = collect();
  demuxer.push(Buffer.concat([dockerFrame(1, ''), dockerFrame(2, 'x'), dockerFrame(2, '')]));
  demuxer.end();
  assert.deepEqual(out, [[2, 'x']]);
});

test('what a type 0 frame holds is output too', () => {
  const { demuxer, out } = collect();
  demuxer.push(dockerFrame(0, 'echo'));
  assert.deepEqual(out, [[1, 'echo']]);
});

test('a header of an unknown type, or with bits where zeros belong, is an error', () => {
  const reserved = dockerFrame(1, 'x');
  reserved[2] = 1;
  for (const bad of [dockerFrame(4, 'x'), reserved, Buffer.from('plain text of a terminal')]) {
    const { demuxer } = collect();
    assert.throws(
      () => demuxer.push(bad),
      (error) => isFairleadError(error, 'DOCKER_ERROR'),
    );
  }
});

test('an end in the middle of a frame is an interruption, at every offset', () => {
  const frame = dockerFrame(1, 'abc');
  for (let cut = 1; cut < frame.length; cut++) {
    const { demuxer } = collect();
    demuxer.push(frame.subarray(0, cut));
    assert.throws(
      () => demuxer.end(),
      (error) => isFairleadError(error, 'STREAM_INTERRUPTED'),
      `cut at ${cut}`,
    );
  }
});

test("Docker's own report of an error fails with its text, which is bounded", () => {
  const { demuxer } = collect();
  demuxer.push(dockerFrame(3, 'Error grabbing logs: ').subarray(0, 12));
  assert.throws(
    () => demuxer.push(dockerFrame(3, 'Error grabbing logs: ').subarray(12)),
    (error) => isFairleadError(error, 'DOCKER_ERROR') && error.message === 'Error grabbing logs:',
  );
  assert.throws(
    () => collect().demuxer.push(dockerFrame(3, 'x'.repeat(100_000))),
    (error) => isFairleadError(error, 'DOCKER_ERROR') && error.message.length <= 512,
  );
});

test('a frame of the largest size passes without being kept', () => {
  const { demuxer } = collect();
  const header = dockerFrame(1, '');
  header.writeUInt32BE(0xffffffff, 4);
  let bytes = 0;
  const counting = new Demuxer((_stream, chunk) => {
    bytes += chunk.length;
  });
  const piece = Buffer.alloc(65_536);
  counting.push(header);
  for (let pushed = 0; pushed < 100; pushed++) counting.push(piece);
  assert.equal(bytes, 100 * piece.length);
  demuxer.end();
});
