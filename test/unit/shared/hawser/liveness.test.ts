import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Liveness } from '../../../../shared/hawser/liveness.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

function watched() {
  const clock = new FakeClock();
  const seen = { pings: 0, deaths: [] as string[], isBehind: false };
  const liveness: Liveness = new Liveness({
    ...{ clock, pingMs: 20_000, silentMs: 90_000 },
    isBehind: () => seen.isBehind,
    ping: () => {
      seen.pings += 1;
    },
    onDead: (why) => {
      seen.deaths.push(why);
      liveness.close();
    },
  });
  /** Lets time pass in which something comes every second. */
  const talk = (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) {
      clock.advance(1_000);
      liveness.heard();
    }
  };
  return { clock, liveness, seen, talk };
}

test('whoever is heard of and reads lives on, and is pinged at its pace', () => {
  const { seen, talk } = watched();
  talk(200);
  assert.deepEqual([seen.pings, seen.deaths], [10, []]);
});

test('whoever says nothing for its time is dead, once', () => {
  const { clock, seen } = watched();
  clock.advance(89_000);
  assert.deepEqual(seen.deaths, []);
  clock.advance(200_000);
  assert.deepEqual(seen.deaths, ['silent']);
});

test('whoever talks and does not read is dead, but not if it has read in between', () => {
  const { seen, talk } = watched();
  seen.isBehind = true;
  talk(80);
  seen.isBehind = false;
  talk(10);
  seen.isBehind = true;
  talk(80);
  assert.deepEqual(seen.deaths, []);
  talk(20);
  assert.deepEqual(seen.deaths, ['does not read']);
});
