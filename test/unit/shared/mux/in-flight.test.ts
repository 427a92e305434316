import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { InFlight } from '../../../../shared/mux/in-flight.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { MBIT, type SimulatedFlow, SimulatedSender, SimulatedWay } from '../../../support/simulated-link.ts';

interface Simulation {
  readonly clock: FakeClock;
  readonly way: SimulatedWay;
  readonly back: SimulatedWay;
  readonly sender: SimulatedSender;
}

function simulate(mbit: number, roundTripMs: number): Simulation {
  const clock = new FakeClock();
  const way = new SimulatedWay(clock, mbit * MBIT, roundTripMs / 2);
  const back = new SimulatedWay(clock, mbit * MBIT, roundTripMs / 2);
  return { clock, way, back, sender: new SimulatedSender(clock, way, back) };
}

/** The link's use and the largest queue over so many ms, looked at each ms. */
function observe(simulation: Simulation, ms: number, sender = simulation.sender, way = simulation.way) {
  const before = sender.received;
  let queuedBytes = 0;
  for (let passed = 0; passed < ms; passed += 1) {
    simulation.clock.advance(1);
    queuedBytes = Math.max(queuedBytes, way.queuedBytes);
  }
  return { use: (sender.received - before) / ms / way.rate, queueMs: queuedBytes / way.rate };
}

/** How long a keystroke takes one way, in ms: the longest of one each 20 ms. */
function keystrokes({ clock, sender, way }: Simulation, ms: number): number {
  let longest = 0;
  for (let passed = 0; passed < ms; passed += 20) {
    const key = sender.flow('interactive', 64);
    const from = clock.monotonic();
    key.onArrived = () => {
      longest = Math.max(longest, clock.monotonic() - from);
    };
    clock.advance(20);
  }
  clock.advance(way.delayMs * 4);
  assert.ok(longest > 0, 'no keystroke arrived');
  return longest;
}

const LINKS = [
  { mbit: 0.5, roundTripMs: 200, use: 0.85, queueMs: 600 },
  { mbit: 2, roundTripMs: 300, use: 0.9, queueMs: 200 },
  { mbit: 20, roundTripMs: 40, use: 0.98, queueMs: 35 },
  { mbit: 100, roundTripMs: 100, use: 0.98, queueMs: 50 },
  { mbit: 500, roundTripMs: 20, use: 0.97, queueMs: 15 },
  { mbit: 1000, roundTripMs: 1, use: 0.97, queueMs: 5 },
];

describe('in-flight control', () => {
  for (const { mbit, roundTripMs, use, queueMs } of LINKS) {
    it(`fills ${mbit} Mbit/s with ${roundTripMs} ms and keeps its queue short, and stays there`, () => {
      const simulation = simulate(mbit, roundTripMs);
      simulation.sender.flow('bulk');
      simulation.clock.advance(Math.max(1_500, 15 * roundTripMs));
      // Long enough for the idle round trip to be measured anew twice.
      for (let second = 0; second < 25; second += 5) {
        const seen = observe(simulation, mbit > 100 ? 1_000 : 5_000);
        assert.ok(seen.use > use, `the link is used by ${seen.use}`);
        assert.ok(seen.queueMs < queueMs, `${seen.queueMs} ms wait in the link`);
      }
    });
  }

  it('reaches the full rate within a dozen round trips', () => {
    const simulation = simulate(100, 100);
    simulation.sender.flow('bulk');
    simulation.clock.advance(1_200);
    assert.ok(observe(simulation, 200).use > 0.95);
  });

  it('does not oscillate: once found, the limit stays within a tenth until the next measurement', () => {
    const simulation = simulate(20, 40);
    simulation.sender.flow('bulk');
    simulation.clock.advance(2_000);
    const limits: number[] = [];
    for (let passed = 0; passed < 6_000; passed += 10) {
      simulation.clock.advance(10);
      limits.push(simulation.sender.inFlight.inFlightLimit);
    }
    assert.ok(Math.max(...limits) < 1.1 * Math.min(...limits), `${Math.min(...limits)} to ${Math.max(...limits)}`);
  });

  it('follows a link that falls from 20 to 2 Mbit/s and rises to 50', () => {
    const simulation = simulate(20, 40);
    const { clock, way, back, sender } = simulation;
    sender.flow('bulk');
    clock.advance(3_000);
    way.rate = 2 * MBIT;
    back.rate = 2 * MBIT;
    // What is in flight when it falls takes half a second to leave.
    clock.advance(700);
    const slow = observe(simulation, 3_000);
    assert.ok(slow.use > 0.93 && slow.queueMs < 100, `${slow.use}, ${slow.queueMs} ms`);
    way.rate = 50 * MBIT;
    back.rate = 50 * MBIT;
    clock.advance(500);
    const fast = observe(simulation, 3_000);
    assert.ok(fast.use > 0.97 && fast.queueMs < 35, `${fast.use}, ${fast.queueMs} ms`);
  });

  it('finds its pace at once when a link that needed none becomes slower', () => {
    const simulation = simulate(1000, 4);
    const { clock, way, back, sender } = simulation;
    sender.flow('bulk');
    clock.advance(3_000);
    way.rate = 100 * MBIT;
    back.rate = 100 * MBIT;
    clock.advance(300);
    const after = observe(simulation, 1_000);
    assert.ok(after.use > 0.9, `the link is used by ${after.use}`);
  });

  it('goes on at full rate at once after a freeze', () => {
    const simulation = simulate(20, 40);
    simulation.sender.flow('bulk');
    simulation.clock.advance(3_000);
    simulation.way.freeze();
    simulation.clock.advance(5_000);
    const { inFlightBytes } = simulation.sender.inFlight;
    assert.ok(inFlightBytes < 256 * 1024, `${inFlightBytes} bytes went into a link that does not move`);
    simulation.way.thaw();
    simulation.clock.advance(600);
    const after = observe(simulation, 2_000);
    assert.ok(after.use > 0.97 && after.queueMs < 35, `${after.use}, ${after.queueMs} ms`);
  });

  it('does not take a path that became longer for a queue', () => {
    const simulation = simulate(20, 40);
    const { clock, way, back, sender } = simulation;
    sender.flow('bulk');
    clock.advance(3_000);
    way.delayMs = 80;
    back.delayMs = 80;
    clock.advance(3_000);
    const after = observe(simulation, 5_000);
    assert.ok(after.use > 0.95, `the link is used by ${after.use}`);
    const { roundTripIdleMs = 0 } = sender.inFlight;
    assert.ok(roundTripIdleMs > 155 && roundTripIdleMs < 190, `the idle round trip is ${roundTripIdleMs} ms`);
  });

  it('does not starve on a short link whose ends are busy', () => {
    const simulation = simulate(1000, 0.4);
    const { clock, way, back, sender } = simulation;
    sender.flow('bulk');
    clock.advance(200);
    // From now on each end takes 2 ms to do what takes none at its best.
    way.delayMs = 2;
    back.delayMs = 2;
    clock.advance(1_000);
    const after = observe(simulation, 500);
    assert.ok(after.use > 0.9, `the link is used by ${after.use}`);
  });

  it('fills both directions at once, though the acks of each wait behind the other', () => {
    const simulation = simulate(20, 40);
    const other = new SimulatedSender(simulation.clock, simulation.back, simulation.way);
    simulation.sender.flow('bulk');
    other.flow('bulk');
    simulation.clock.advance(2_000);
    const from = other.received;
    const there = observe(simulation, 6_000);
    const back = (other.received - from) / 6_000 / simulation.back.rate;
    assert.ok(there.use > 0.93 && back > 0.93, `${there.use} and ${back}`);
    assert.ok(there.queueMs < 50, `${there.queueMs} ms wait in the link`);
  });

  it('keeps what it knows through idleness', () => {
    const simulation = simulate(20, 40);
    const burst = simulation.sender.flow('bulk', 4 * 1024 * 1024);
    simulation.clock.advance(3_000);
    assert.equal(burst.backlog, 0);
    simulation.clock.advance(60_000);
    simulation.sender.flow('bulk');
    simulation.clock.advance(120);
    const after = observe(simulation, 1_000);
    assert.ok(after.use > 0.9 && after.queueMs < 60, `${after.use}, ${after.queueMs} ms`);
  });

  it('lets a keystroke pass bulk: it waits for a short queue and a frame', () => {
    const simulation = simulate(20, 40);
    for (let stream = 0; stream < 3; stream += 1) simulation.sender.flow('bulk');
    simulation.clock.advance(1_500);
    const longest = keystrokes(simulation, 3_000);
    assert.ok(longest < 20 + 35, `a keystroke took ${longest} ms one way`);
  });

  it('gives streams of one class the same bytes', () => {
    const simulation = simulate(20, 40);
    const flows: SimulatedFlow[] = [];
    for (let stream = 0; stream < 5; stream += 1) flows.push(simulation.sender.flow('bulk'));
    // The first one that comes finds the link empty.
    simulation.clock.advance(1_000);
    const before = flows.map(({ arrived }) => arrived);
    simulation.clock.advance(5_000);
    const shares = flows.map(({ arrived }, index) => arrived - (before[index] ?? 0));
    assert.ok(Math.max(...shares) - Math.min(...shares) <= 64 * 1024, shares.join(' '));
  });

  it('keeps a tenth for bulk when interactive streams alone could fill the link', () => {
    const simulation = simulate(20, 40);
    const terminal = simulation.sender.flow('interactive');
    const bulk = simulation.sender.flow('bulk');
    simulation.clock.advance(5_000);
    const share = bulk.arrived / (bulk.arrived + terminal.arrived);
    assert.ok(share > 0.08 && share < 0.13, `bulk got ${share}`);
  });

  it('does not learn from what the sender had too little to send for', () => {
    const simulation = simulate(20, 40);
    const { clock, sender } = simulation;
    sender.flow('bulk', 8 * 1024 * 1024);
    clock.advance(3_000);
    const { deliveryRate } = sender.inFlight;
    const trickle = sender.flow('bulk', 0);
    for (let passed = 0; passed < 5_000; passed += 20) {
      trickle.backlog += 1024;
      sender.wake(trickle);
      clock.advance(20);
    }
    const { deliveryRate: later } = sender.inFlight;
    assert.ok(later !== undefined && deliveryRate !== undefined);
    assert.ok(Math.abs(later / deliveryRate - 1) < 0.2, `${deliveryRate} became ${later}`);
  });

  it('counts the silence of a peer that stops to acknowledge half way', () => {
    const inFlight = new InFlight();
    for (let sent = 0; sent < 8; sent += 1) inFlight.sent(16 * 1024, true, 0);
    inFlight.acked(16 * 1024, 20, 40);
    assert.equal(inFlight.hasBulkRoom, false, 'the ack made no room');
    assert.equal(inFlight.unacknowledgedMs(40), 0);
    assert.equal(inFlight.unacknowledgedMs(1_040), 1_000);
    inFlight.acked(16 * 1024, 20, 1_040);
    assert.equal(inFlight.unacknowledgedMs(1_540), 1_500, 'the same again is no progress');
    inFlight.acked(8 * 16 * 1024, 60, 1_540);
    assert.equal(inFlight.unacknowledgedMs(9_999), 0);
  });

  it('neither stops nor paces while the clocks see no time pass', () => {
    const inFlight = new InFlight();
    for (let sent = 0; sent < 100; sent += 1) {
      assert.ok(inFlight.hasBulkRoom);
      assert.equal(inFlight.waitMs(5), 0);
      inFlight.sent(16 * 1024, true, 5);
      inFlight.acked((sent + 1) * 16 * 1024, 5, 5);
    }
  });

  it('knows nothing before the first ack, and sends little', () => {
    const { sender } = simulate(20, 40);
    sender.flow('bulk');
    const { deliveryRate, roundTripMs, inFlightBytes } = sender.inFlight;
    assert.deepEqual({ deliveryRate, roundTripMs }, { deliveryRate: undefined, roundTripMs: undefined });
    assert.ok(inFlightBytes >= 64 * 1024 && inFlightBytes < 96 * 1024, `${inFlightBytes}`);
  });
});
