/**
 * What kinds do beside what their own names say: under which other names of the catalogue the calls go that they have Docker
 * make. Who denies one of those names denies the kind that would do the same by another one.
 */

/** Names of the catalogue. A kind that is not here makes calls of its own name only, or has each judged as it is made. */
interface Acts {
  /** What it does as well: who denies one of these denies the kind. */
  readonly as?: readonly string[];
  /** What it does as well for some parameters, which its handler has judged by `DockerEngine.requireNamed`. */
  readonly sometimes?: readonly string[];
  /** What it may do although that is denied by name, and why. Denied as a Docker call, it is not made all the same. */
  readonly apart?: Readonly<Record<string, string>>;
}

const FOLLOWED = { 'container.inspect': 'only whether the process runs, and which one it is, so that it can be ended' };
const TERMINAL = { 'container.inspect': 'only whether it runs, since when, and whether it has a terminal' };
const IS_THERE = { 'volume.inspect': 'only whether it is there, and of the kind that can be filled' };
const HELPER = {
  'image.pull': "nothing is pulled: the helper's image is made of one empty file, and removed again",
  'image.remove': "only the helper's own image",
  'container.remove': 'only the helper itself, which was never started',
};
/** What reaches into a volume makes a container for it. */
const READS_VOLUME = ['container.archive.get', 'container.create'];
const FILLS_VOLUME = ['container.archive.put', 'container.create'];
const REPLACES_VOLUME = {
  // Users of a volume are named when it is refused because of them.
  as: [...FILLS_VOLUME, 'container.list', 'volume.create', 'volume.remove'],
  apart: {
    ...HELPER,
    ...IS_THERE,
    'container.archive.get':
      'only whether the volume is empty, and what it had, so that it can be put back; it stays here',
  },
};

/** By kind. */
export const ACTS: ReadonlyMap<string, Acts> = new Map<string, Acts>([
  ['host.metrics', { apart: { 'host.info': 'only where Docker has its data, to say how full that disk is' } }],
  ['host.stats', { as: ['container.list', 'container.stats'] }],
  ['container.log.stream', { apart: TERMINAL }],
  ['container.exec.open', { apart: FOLLOWED }],
  ['container.exec.run', { as: ['container.exec.open'], apart: FOLLOWED }],
  [
    'container.attach',
    {
      sometimes: ['container.log.stream'],
      apart: {
        ...TERMINAL,
        'container.wait': "only the exit code of the process that it is attached to, at that one's end",
      },
    },
  ],
  ['container.prune', { as: ['container.remove'] }],
  ['image.prune', { as: ['image.remove'] }],
  ['network.prune', { as: ['network.remove'] }],
  ['volume.prune', { as: ['volume.remove'] }],
  ['volume.browse', { as: READS_VOLUME, apart: { ...HELPER, ...IS_THERE } }],
  ['volume.export', { as: READS_VOLUME, apart: { ...HELPER, ...IS_THERE } }],
  [
    'volume.import',
    { as: FILLS_VOLUME, sometimes: ['volume.create', 'volume.remove'], apart: { ...HELPER, ...IS_THERE } },
  ],
  [
    'volume.transfer.send',
    {
      // It says how the volume is made, and who uses it.
      as: [...READS_VOLUME, 'container.list', 'volume.inspect'],
      apart: { ...HELPER, 'host.info': 'only about how large the volume is' },
    },
  ],
  ['volume.transfer.prepare', REPLACES_VOLUME],
  ['volume.transfer.apply', REPLACES_VOLUME],
  [
    'tcp.open',
    { apart: { 'container.inspect': 'only its name, whether it runs, and the address that is connected to' } },
  ],
  ['stack.list', { as: ['container.list'] }],
  ['stack.status', { as: ['container.list'] }],
  [
    'stack.logs',
    {
      as: ['container.list', 'container.log.stream'],
      apart: { ...TERMINAL, 'host.events': 'only which containers of the stack start while their logs are followed' },
    },
  ],
]);
