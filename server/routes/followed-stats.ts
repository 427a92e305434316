/** A container's statistics as NDJSON: samples go on when the host has been away. */
import { RepeatedSamples } from '../../shared/docker/repeated-samples.ts';
import { containerStats } from '../../shared/messages/container.ts';
import type { Item, Params } from '../../shared/messages/kind.ts';
import type { HostLink, LinkStream } from '../hosts/host-link.ts';
import { endingStream } from './followed-log.ts';
import { type ComebackOptions, HostComeback } from './host-comeback.ts';

type StatsStream = LinkStream<typeof containerStats>;
type Samples = AsyncIterable<Item<typeof containerStats>>;
type StatsParams = Params<typeof containerStats>;

/** A container's id, as samples have it. */
const ID = /^[0-9a-f]{64}$/;

/** Reads samples until they end, or an interruption ends them. */
export async function readStats(
  link: HostLink,
  params: StatsParams,
  signal: AbortSignal,
): Promise<AsyncIterable<string>> {
  const stats = await link.open(containerStats, params, { signal });
  return new SampleLines(params.id).of(endingStream(stats, stats.items()));
}

/** The same, over the absences of the host: of the same container, and no sample twice. */
export async function followStats(
  link: HostLink,
  params: StatsParams,
  options: Omit<ComebackOptions, 'hostId'>,
): Promise<AsyncIterable<string>> {
  const first = await link.open(containerStats, params, { signal: options.signal });
  return continued(first, params, { ...options, hostId: link.hostId });
}

async function* continued(first: StatsStream, params: StatsParams, options: ComebackOptions): AsyncGenerator<string> {
  const { clock, signal } = options;
  const comeback = new HostComeback(options);
  const lines = new SampleLines(params.id);
  let stats = first;
  for (;;) {
    const since = clock.monotonic();
    let failure: unknown;
    try {
      yield* lines.of(endingStream(stats, stats.items()));
      return;
    } catch (error) {
      failure = error;
    }
    stats = await comeback.reopen(failure, clock.monotonic() - since, (link) =>
      link.open(containerStats, { ...params, id: lines.id }, { signal }),
    );
  }
}

/** Samples of one container as lines; one that comes again is left out. */
class SampleLines {
  /** The container: what was given at first, its id once a sample has told it. */
  id: string;
  readonly #repeated = new RepeatedSamples();

  constructor(id: string) {
    this.id = id;
  }

  async *of(samples: Samples): AsyncGenerator<string> {
    for await (const sample of samples) {
      const { id } = sample;
      if (typeof id === 'string' && ID.test(id)) this.id = id;
      if (this.#repeated.isRepeated(sample)) continue;
      yield `${JSON.stringify(sample)}\n`;
    }
  }
}
