/** What ends a stream that a client holds open. */
import assert from 'node:assert/strict';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { logForm } from '../../../../server/routes/container-streams.ts';
import { type LiveStream, LiveStreams } from '../../../../server/routes/live-streams.ts';
import { systemClock } from '../../../../shared/clock.ts';
import type { FairleadError } from '../../../../shared/errors.ts';

const VIEWER = { tokenId: 't1', name: 'ci', role: 'viewer' as const };

const NO_ENDS = {
  credentials: [{ onRevoked: () => () => undefined }],
  hosts: { onScopeChange: () => () => undefined },
};

/** A clock that stands still, and fires its timers when told. */
function manualClock() {
  const timers: { at: number; callback: () => void }[] = [];
  let now = 1000;
  return {
    now: () => now,
    monotonic: () => now,
    setTimeout(callback: () => void, ms: number) {
      const timer = { at: now + ms, callback };
      timers.push(timer);
      return { cancel: () => void timers.splice(timers.indexOf(timer), 1) };
    },
    setInterval: systemClock.setInterval,
    /** Fires every timer now, as a clock does that clamps long waits, whatever the time then is. */
    fire(at: number) {
      now = at;
      for (const { callback } of timers.splice(0)) callback();
    },
    get waiting() {
      return timers.length;
    },
  };
}

/** A table that is told of tokens and hosts by hand. */
function watched(clock: ReturnType<typeof manualClock>) {
  let endToken: (tokenId: string, endsAt?: number) => void = () => undefined;
  let retag: (hostId: string, tags: readonly string[] | undefined) => void = () => undefined;
  const onRevoked = (listener: typeof endToken) => {
    endToken = listener;
    return () => undefined;
  };
  const onScopeChange = (listener: typeof retag) => {
    retag = listener;
    return () => undefined;
  };
  return { live: new LiveStreams({ credentials: [{ onRevoked }], hosts: { onScopeChange } }, clock), endToken, retag };
}

/** With which codes the streams have ended. */
function ended(...streams: LiveStream[]) {
  return streams.map(({ signal }) => (signal.aborted ? (signal.reason as FairleadError).code : undefined));
}

test('a client that left before its stream began ends it all the same', () => {
  const live = new LiveStreams(NO_ENDS, systemClock);
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  response.destroy();
  const stream = live.beginFor(response, VIEWER);
  assert.equal(stream.signal.aborted, true);
  assert.equal(stream.signal.reason.code, 'CANCELLED');
});

test('a stream ends when its token expires, and not when a clamped timer fires', () => {
  const clock = manualClock();
  const live = new LiveStreams(NO_ENDS, clock);
  const stream = live.begin({ ...VIEWER, expiresAt: 5000 });
  clock.fire(3000);
  assert.equal(stream.signal.aborted, false);
  clock.fire(5000);
  assert.equal(stream.signal.reason.code, 'UNAUTHORIZED');
  assert.equal(clock.waiting, 0);
});

test('a released stream leaves no timer and no trace', () => {
  const clock = manualClock();
  const live = new LiveStreams(NO_ENDS, clock);
  const stream = live.begin({ ...VIEWER, expiresAt: 5000 });
  stream.release();
  stream.release();
  assert.equal(live.size, 0);
  assert.equal(clock.waiting, 0);
});

test('a token that is revoked while it is asked about opens nothing', () => {
  let revoke: (tokenId: string) => void = () => undefined;
  const onRevoked = (listener: (tokenId: string) => void) => {
    revoke = listener;
    return () => undefined;
  };
  const live = new LiveStreams({ ...NO_ENDS, credentials: [{ onRevoked }] }, systemClock);
  revoke('t1');
  assert.throws(() => live.begin(VIEWER), { code: 'UNAUTHORIZED' });
  assert.ok(live.begin({ ...VIEWER, tokenId: 't2' }));
});

test('there are only so many streams', () => {
  const live = new LiveStreams(NO_ENDS, systemClock);
  const open = () => live.begin(VIEWER);
  const streams = Array.from({ length: 1024 }, open);
  assert.throws(open, /of this token/);
  streams[0]?.release();
  streams[0]?.release();
  open();
  assert.throws(open, { code: 'OVERLOADED' });
  for (let i = 1024; i < 4096; i++) live.begin({ ...VIEWER, tokenId: `token ${i % 3}` });
  assert.throws(() => live.begin({ ...VIEWER, tokenId: 'another' }), /4096 streams are open/);
  live.close();
  assert.throws(open, { code: 'SHUTDOWN' });
});

test('a token that is to end sooner takes its streams with it then, those that begin meanwhile, too', () => {
  const clock = manualClock();
  const { live, endToken } = watched(clock);
  const early = live.begin(VIEWER);
  const expiring = live.begin({ ...VIEWER, expiresAt: 3000 });
  const other = live.begin({ ...VIEWER, tokenId: 't2' });
  endToken('t1', 5000);
  const late = live.begin({ ...VIEWER, expiresAt: 9000 });
  clock.fire(3000);
  assert.deepEqual(ended(early, expiring, late, other), [undefined, 'UNAUTHORIZED', undefined, undefined]);
  clock.fire(5000);
  assert.deepEqual(ended(early, late, other), ['UNAUTHORIZED', 'UNAUTHORIZED', undefined]);
  endToken('t2', 5000);
  clock.fire(5000);
  assert.deepEqual(ended(other), ['UNAUTHORIZED'], 'without an overlap it ends at once');
  assert.equal(clock.waiting, 0);
});

test("a host that leaves a token's scope takes the token's streams to it along, and no others", () => {
  const { live, retag } = watched(manualClock());
  const byTag = { ...VIEWER, scope: { hosts: [], tags: ['lab'] } };
  const tagged = live.begin({ ...byTag, hostId: 'h1' });
  const elsewhere = live.begin({ ...byTag, hostId: 'h2' });
  const listed = live.begin({ ...VIEWER, scope: { hosts: ['h1'], tags: [] }, hostId: 'h1' });
  const all = live.begin(VIEWER);
  retag('h1', ['lab', 'more']);
  assert.deepEqual(ended(tagged, elsewhere, listed, all), [undefined, undefined, undefined, undefined]);
  retag('h1', ['more']);
  assert.deepEqual(ended(tagged, elsewhere, listed, all), ['HOST_NOT_FOUND', undefined, undefined, undefined]);
  assert.throws(() => live.begin({ ...byTag, hostId: 'h1' }), { code: 'HOST_NOT_FOUND' }, 'let in just before');
  retag('h1', ['lab']);
  assert.equal(live.begin({ ...byTag, hostId: 'h1' }).signal.aborted, false);
  retag('h1', undefined);
  assert.deepEqual(ended(listed, elsewhere, all), ['HOST_NOT_FOUND', undefined, undefined]);
});

test('a closed table listens to nobody', () => {
  let listeners = 0;
  const listen = () => {
    listeners++;
    return () => listeners--;
  };
  const live = new LiveStreams({ credentials: [{ onRevoked: listen }], hosts: { onScopeChange: listen } }, systemClock);
  assert.equal(listeners, 2);
  live.close();
  assert.equal(listeners, 0);
});

test('records and frames are for those who ask for them', () => {
  for (const accept of ['application/x-ndjson', 'Application/NDJSON; q=1', 'application/x-ndjson, text/plain']) {
    assert.equal(logForm(accept), 'ndjson', accept);
  }
  for (const accept of [undefined, '*/*', 'text/plain', 'text/plain, application/x-ndjson', 'application/json']) {
    assert.equal(logForm(accept), 'bytes', String(accept));
  }
  assert.equal(logForm('application/vnd.docker.raw-stream, application/vnd.docker.multiplexed-stream'), 'frames');
});

test('as the server stops, a stream without an end of its own ends, and others get their time', () => {
  const live = new LiveStreams(NO_ENDS, manualClock());
  const [log, call] = [live.begin(VIEWER, 'endless'), live.begin(VIEWER)];
  live.drain();
  assert.deepEqual(ended(log, call), ['SHUTDOWN', undefined]);
  assert.throws(() => live.begin(VIEWER, 'endless'), { code: 'SHUTDOWN' });
  // What was let in before may go on to where it needs a stream.
  const late = live.begin(VIEWER);
  live.close();
  assert.deepEqual(ended(call, late), ['SHUTDOWN', 'SHUTDOWN']);
});
