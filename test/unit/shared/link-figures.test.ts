/** What is told of a session's figures: rounded, without what is unknown, and such that it fits its schema. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { knownFigures, linkFigures } from '../../../shared/link-figures.ts';
import { heartbeat } from '../../../shared/messages/control.ts';
import { LinkFigures } from '../../../shared/messages/link.ts';
import type { LinkStats } from '../../../shared/mux/link-stats.ts';
import type { SessionStats } from '../../../shared/mux/session-stats.ts';
import { fits } from '../../../shared/validate.ts';

function stats(link: Partial<LinkStats>): SessionStats {
  const unknown = { roundTripIdleMs: undefined, roundTripMs: undefined, deliveryRate: undefined };
  return {
    link: { ...unknown, inFlightBytes: 0, inFlightLimit: Number.POSITIVE_INFINITY, ...link },
    creditStarvedMs: 12.6,
    socketBlockedMs: 3.2,
    queuedBytes: { control: 1, interactive: 2, bulk: 3 },
  } as unknown as SessionStats;
}

test('what is not known and what has no limit is left out', () => {
  const figures = linkFigures(stats({}));
  assert.deepEqual(figures, {
    inFlightBytes: 0,
    queuedBytes: { control: 1, interactive: 2, bulk: 3 },
    creditStarvedMs: 13,
    socketBlockedMs: 3,
  });
  assert.ok(fits(LinkFigures, figures));
});

test('what is known is told in its unit, rounded', () => {
  const figures = linkFigures(
    stats({
      roundTripIdleMs: 40.12345,
      roundTripMs: 52,
      deliveryRate: 2_500_000.4,
      inFlightBytes: 7,
      inFlightLimit: 9.5,
    }),
  );
  const { roundTripIdleMs, roundTripMs, deliveryBytesPerSecond, inFlightBytes, inFlightLimitBytes } = figures;
  assert.deepEqual(
    { roundTripIdleMs, roundTripMs, deliveryBytesPerSecond, inFlightBytes, inFlightLimitBytes },
    {
      ...{ roundTripIdleMs: 40.12, roundTripMs: 52, deliveryBytesPerSecond: 2_500_000 },
      ...{ inFlightBytes: 7, inFlightLimitBytes: 10 },
    },
  );
  assert.ok(fits(LinkFigures, figures));
});

test('a heartbeat takes figures of a newer agent, and none that could not be passed on', () => {
  const beat = { seq: 0, time: 0, load: [0, 0, 0], streams: 0, docker: { reachable: false } };
  const link = linkFigures(stats({ roundTripMs: 1 }));
  assert.ok(fits(heartbeat.value, beat));
  assert.ok(fits(heartbeat.value, { ...beat, link: { ...link, later: 'yes' } }));
  for (const roundTripMs of [Number.POSITIVE_INFINITY, Number.NaN, -1, 1e300, '1', null]) {
    assert.equal(fits(heartbeat.value, { ...beat, link: { ...link, roundTripMs } }), false, String(roundTripMs));
  }
  assert.equal(fits(heartbeat.value, { ...beat, link: {} }), false);
});

test('what a peer adds to its figures is not kept', () => {
  const bare = linkFigures(stats({}));
  const full = linkFigures(stats({ roundTripIdleMs: 1, roundTripMs: 2, deliveryRate: 3, inFlightLimit: 4 }));
  for (const figures of [bare, full]) {
    assert.deepEqual(knownFigures(figures), figures);
    const more = { ...figures, note: 'x'.repeat(10_000), queuedBytes: { ...figures.queuedBytes, later: 1 } };
    assert.deepEqual(knownFigures(more), figures);
  }
});
