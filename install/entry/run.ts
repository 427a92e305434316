// Loads a program once check-node has let this Node pass. The paths stand here, not in the entry points, because those
// are reached through symbolic links from the programs' own folders.

// Loading a program makes V8's space for young objects grow, and it never shrinks again: what keeps it small comes first.
// It does so in all of them, because V8 takes no code from a compile cache that was filled under other flags.
const lean = async (load: () => Promise<unknown>) => {
  (await import('../../shared/young-heap.ts')).keepYoungHeapSmall();
  return await load();
};

module.exports = {
  server: () => lean(() => import('../../server/process.ts')),
  agent: () => lean(() => import('../../agent/process.ts')),
  cli: () => lean(() => import('../../server/cli/process.ts')),
  start: () => lean(() => import('../launch/process.ts')),
};
