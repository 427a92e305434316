/** Measures what the link to a host takes in one direction, and how long a round trip is meanwhile. */
import { once } from 'node:events';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { hostThroughput } from '../../shared/messages/host.ts';
import { Arrivals, type Counted, writeNoise } from '../../shared/throughput.ts';
import type { HostLink, LinkStream } from './host-link.ts';
import { type RoundTripSummary, RoundTrips, roundTrips } from './round-trips.ts';

/** How long what was sent in time, and the host's last word, may take to arrive. */
const END_MS = 10_000;
/** How long the host may take to begin, in ms. */
const OPEN_MS = 5_000;
/** Pings of a test: often enough for a picture, seldom enough for the host's limit on control messages. */
const PINGS = { count: 1_000, intervalMs: 100, timeoutMs: 5_000 };
/** Bytes that took less time than this tell no rate. */
const MIN_MS = 1;

export type ThroughputDirection = 'to-host' | 'from-host';

export interface ThroughputPlan {
  readonly direction: ThroughputDirection;
  /** How long the sender goes on, and how many bytes it sends at most. */
  readonly ms: number;
  readonly bytes: number;
}

export interface ThroughputResult {
  readonly direction: ThroughputDirection;
  /** All bytes that arrived; of those to the host this is its own word, as is the rate. */
  readonly bytes: number;
  /** Absent when too little came to tell. */
  readonly bytesPerSecond: number | undefined;
  /** Round trips while the bytes were on their way. */
  readonly loaded: RoundTripSummary;
}

/** @throws FairleadError UNSUPPORTED, TIMEOUT, what the link and its host fail with, and the signal's reason */
export async function measureThroughput(
  link: HostLink,
  plan: ThroughputPlan,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<ThroughputResult> {
  const sendBytes = plan.direction === 'from-host' ? plan.bytes : 0;
  const stream = await link.open(hostThroughput, { sendBytes, ms: plan.ms }, { signal, timeoutMs: OPEN_MS });
  const late = clock.setTimeout(() => {
    stream.reset(new FairleadError('TIMEOUT', 'the throughput test did not come to its end in time'));
  }, plan.ms + END_MS);
  const over = new AbortController();
  const end = () => over.abort(new FairleadError('CANCELLED', 'the test is over'));
  try {
    const measure = plan.direction === 'from-host' ? receive : send;
    const measured = measure(stream, plan, clock, signal).finally(end);
    const [{ total, counted }, loaded] = await Promise.all([measured, pingMeanwhile(link, clock, over.signal)]);
    const bytesPerSecond = counted.ms < MIN_MS ? undefined : (counted.bytes / counted.ms) * 1000;
    return { direction: plan.direction, bytes: total, bytesPerSecond, loaded };
  } catch (error) {
    stream.reset(isFairleadError(error) ? error : new FairleadError('INTERNAL', 'the throughput test failed'));
    throw error;
  } finally {
    late.cancel();
  }
}

interface Measured {
  readonly total: number;
  readonly counted: Counted;
}
type TestStream = LinkStream<typeof hostThroughput>;

async function send(stream: TestStream, plan: ThroughputPlan, clock: Clock, signal: AbortSignal): Promise<Measured> {
  const written = writeNoise(stream.bytes, plan, clock, signal).then(() => stream.bytes.end());
  const [{ receivedBytes, countedBytes, countedMs }] = await Promise.all([stream.trailer, written]);
  return { total: receivedBytes, counted: { bytes: countedBytes, ms: countedMs } };
}

async function receive(stream: TestStream, { bytes }: ThroughputPlan, clock: Clock): Promise<Measured> {
  const arrivals = new Arrivals(clock);
  const ended = once(stream.bytes, 'end');
  const take = (chunk: Buffer) => {
    arrivals.add(chunk.byteLength);
    if (arrivals.total > bytes)
      stream.reset(new FairleadError('MESSAGE_INVALID', 'the host sent more than it was asked for'));
  };
  stream.bytes.on('data', take).end();
  await Promise.all([stream.trailer, ended]);
  return arrivals;
}

/** Pings until `over`, or until a ping fails: what ends the session ends the test's stream as well, which tells of it. */
async function pingMeanwhile(link: HostLink, clock: Clock, over: AbortSignal): Promise<RoundTripSummary> {
  const trips = new RoundTrips();
  try {
    for await (const ms of roundTrips(link, PINGS, clock, over)) trips.add(ms);
  } catch (error) {
    if (!isFairleadError(error)) throw error;
  }
  return trips.summary;
}
