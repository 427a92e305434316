/** Hosts are asked for samples once they come, again when they end them, and cannot flood the server with them. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MetricsFeed } from '../../../../server/host-metrics/feed.ts';
import type { HostLink, LinkStream } from '../../../../server/hosts/host-link.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { HostSample } from '../../../../shared/messages/metrics.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { type FakeLink, fakeLink } from '../hosts/fake-link.ts';

const INTERVAL_MS = 30_000;
const SAMPLE: HostSample = { at: 1, uptimeSeconds: 1 };

/** A stream whose items the test sends. */
class Samples {
  readonly params: Record<string, unknown>;
  resetWith: FairleadError | undefined;
  readonly #waiting: HostSample[] = [];
  #wake = Promise.withResolvers<void>();
  #end: FairleadError | 'end' | undefined;

  constructor(params: Record<string, unknown>, signal: AbortSignal | undefined) {
    this.params = params;
    signal?.addEventListener('abort', () => this.end(signal.reason));
  }

  send(count = 1): void {
    for (let i = 0; i < count; i++) this.#waiting.push(SAMPLE);
    this.#wake.resolve();
  }

  end(error: FairleadError | 'end'): void {
    this.#end = error;
    this.#wake.resolve();
  }

  async *items(): AsyncGenerator<HostSample> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) yield next;
      else if (this.#end === 'end') return;
      else if (this.#end !== undefined) throw this.#end;
      else {
        await this.#wake.promise;
        this.#wake = Promise.withResolvers();
      }
    }
  }
}

function made(t: TestContext, refusals: FairleadError[] = []) {
  const clock = new FakeClock();
  const registry = new HostRegistry();
  const streams: Samples[] = [];
  const taken: string[] = [];
  const warnings: unknown[] = [];
  const feed = new MetricsFeed({
    ...{ registry, clock, intervalMs: INTERVAL_MS, random: () => 0.5 },
    log: { debug: () => undefined, warn: (line: unknown) => void warnings.push(line) },
    take: (hostId) => void taken.push(hostId),
  });
  t.after(() => feed.close());
  const connect = (capabilities = ['host.metrics']): FakeLink => {
    const link = fakeLink('h', 'one', { capabilities });
    const open = async (_kind: unknown, params: Record<string, unknown>, options: { signal?: AbortSignal }) => {
      const refusal = refusals.shift();
      if (refusal !== undefined) throw refusal;
      const stream = new Samples(params, options.signal);
      streams.push(stream);
      return {
        items: () => stream.items(),
        reset: (error: FairleadError) => {
          stream.resetWith = error;
        },
      } as unknown as LinkStream;
    };
    Object.assign(link, { open: open as HostLink['open'] });
    registry.attach(link);
    return link;
  };
  /** Lets time pass until so many streams were opened. */
  const opened = async (count: number, stepMs = 500) => {
    await waitFor(`${count} streams`, () => {
      if (streams.length < count) clock.advance(stepMs);
      return streams.length === count;
    });
    return streams[count - 1] ?? assert.fail('no stream');
  };
  return { clock, streams, taken, warnings, feed, connect, opened };
}

/** Lets whatever is under way come to rest. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

test('a host that serves it is asked once, in the interval, out of step with others', async (t) => {
  const { taken, connect, opened } = made(t);
  connect();
  const stream = await opened(1);
  assert.deepEqual(stream.params, { intervalMs: INTERVAL_MS, secondAfterMs: 22_500 });
  stream.send();
  await waitFor('the sample', () => taken.length === 1);
});

test('a host that does not serve it, or denies it, is left alone', async (t) => {
  const { clock, streams, connect } = made(t, [new FairleadError('DENIED_BY_HOST', 'no')]);
  connect(['container.list']);
  connect();
  for (let i = 0; i < 40; i++) {
    clock.advance(60_000);
    await settled();
  }
  assert.equal(streams.length, 0);
});

test('a host that ends its samples is asked again, later each time', async (t) => {
  const { clock, streams, warnings, connect, opened } = made(t);
  connect();
  for (let i = 1; i <= 4; i++) (await opened(i)).end(i % 2 === 0 ? 'end' : new FairleadError('INTERNAL', 'x'));
  await settled();
  clock.advance(39_000);
  await settled();
  assert.equal(streams.length, 4, 'not sooner than 40 s after the fourth');
  await opened(5, 10_000);
  assert.ok(warnings.length >= 2);
});

test('what comes too soon is not taken, and a flood ends the stream', async (t) => {
  const { clock, taken, connect, opened } = made(t);
  connect();
  const stream = await opened(1);
  stream.send(3);
  await settled();
  assert.equal(taken.length, 1);
  clock.advance(INTERVAL_MS / 2);
  stream.send(50);
  await settled();
  assert.equal(taken.length, 2);
  stream.send(100);
  await waitFor('the reset', () => stream.resetWith?.code === 'OVERLOADED');
  assert.equal(taken.length, 2);
});

test('it ends with the link and with the server, and comes back with the next link', async (t) => {
  const { clock, streams, feed, connect, opened } = made(t);
  const link = connect();
  const first = await opened(1);
  link.drop('STREAM_INTERRUPTED');
  await settled();
  clock.advance(3_600_000);
  await settled();
  assert.equal(streams.length, 1);
  first.send();
  connect();
  await opened(2);
  feed.close();
  connect();
  await settled();
  clock.advance(3_600_000);
  await settled();
  assert.equal(streams.length, 2);
});
