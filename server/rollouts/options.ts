/** What a rollout is told: in which stages, how fast, and when to stop. The body of its request is made of these, and its row. */
import Type, { type Static } from 'typebox';
import { MAX_NAME_CHARS, MAX_TAGS } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';

/** The most hosts of one rollout. */
export const MAX_ROLLOUT_HOSTS = 10_000;
const MAX_STAGES = 20;
const MAX_PARALLEL = 256;
const MAX_NAMED_HOSTS = 256;
const DAY_SECONDS = 24 * 60 * 60;
/** Shorter than an agent takes: for networks and files of any size, whoever asks knows better. */
const MIN_HOST_TIMEOUT_SECONDS = 5;

const strict = { additionalProperties: false };

/** One stage, of hosts that no stage before it has. */
export const Stage = Type.Union([
  Type.Object({ hosts: Type.Integer({ minimum: 1, maximum: MAX_ROLLOUT_HOSTS, description: 'So many more' }) }, strict),
  Type.Object(
    {
      percent: Type.Integer({
        minimum: 1,
        maximum: 100,
        description: 'So many that this part of all is in, rounded up',
      }),
    },
    strict,
  ),
  Type.Object({ tag: Tags.items }, { ...strict, description: 'Those with this tag' }),
]);
export type Stage = Static<typeof Stage>;

export const RolloutOptions = Type.Object(
  {
    stages: Type.Array(Stage, {
      minItems: 1,
      maxItems: MAX_STAGES,
      description:
        'One after the other; hosts that are in none are left as they are. 1 host, 10 %, 50 %, 100 % unless given',
    }),
    pauseSeconds: Type.Integer({
      minimum: 0,
      maximum: 7 * DAY_SECONDS,
      description: 'Between two stages; 300 unless given',
    }),
    confirm: Type.Boolean({ description: 'Pauses after each stage until it is resumed' }),
    maxFailures: Type.Union(
      [
        Type.Integer({ minimum: 0, maximum: MAX_ROLLOUT_HOSTS }),
        Type.String({ pattern: '^(100|[1-9]?[0-9])%$', maxLength: 4 }),
      ],
      {
        description: 'It halts when more hosts than this fail, a number or a part of its hosts as "5%"; 0 unless given',
      },
    ),
    parallel: Type.Integer({
      minimum: 1,
      maximum: MAX_PARALLEL,
      description: 'Hosts that are under way at once; 10 unless given',
    }),
    hostTimeoutSeconds: Type.Integer({
      minimum: MIN_HOST_TIMEOUT_SECONDS,
      maximum: DAY_SECONDS,
      description: 'A host that has not come back with the release by then has failed; 1800 unless given',
    }),
    waitSeconds: Type.Integer({
      minimum: 0,
      maximum: 30 * DAY_SECONDS,
      description: 'How long from the beginning of a stage hosts that are offline are waited for; 7 days unless given',
    }),
  },
  strict,
);
export type RolloutOptions = Static<typeof RolloutOptions>;

export const DEFAULT_OPTIONS: RolloutOptions = {
  stages: [{ hosts: 1 }, { percent: 10 }, { percent: 50 }, { percent: 100 }],
  pauseSeconds: 300,
  confirm: false,
  maxFailures: 0,
  parallel: 10,
  hostTimeoutSeconds: 1800,
  waitSeconds: 7 * DAY_SECONDS,
};

/** Which hosts a rollout is for. A selection of nothing must say `all`. */
export const RolloutSelect = Type.Object(
  {
    tags: Type.Optional(Type.Array(Tags.items, { maxItems: MAX_TAGS, description: 'Hosts with all of these tags' })),
    hosts: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: MAX_NAME_CHARS }), {
        minItems: 1,
        maxItems: MAX_NAMED_HOSTS,
        description: 'These hosts alone, by id or name',
      }),
    ),
    all: Type.Optional(Type.Literal(true, { description: 'All of them: an empty selection must say so' })),
  },
  strict,
);
export type RolloutSelect = Static<typeof RolloutSelect>;

/** What was asked for, as it is kept. */
export const RolloutPlan = Type.Object({ select: RolloutSelect, options: RolloutOptions }, strict);
export type RolloutPlan = Static<typeof RolloutPlan>;

/** How many of `hosts` may fail. */
export function allowedFailures({ maxFailures }: Pick<RolloutOptions, 'maxFailures'>, hosts: number): number {
  if (typeof maxFailures === 'number') return maxFailures;
  return Math.floor((Number.parseInt(maxFailures, 10) * hosts) / 100);
}
