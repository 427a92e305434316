// Loads a program once check-node has let this Node pass. The paths stand here, not in the entry points, because those
// are reached through symbolic links from the programs' own folders.

// Loading a program makes V8's space for young objects grow, and it never shrinks again: what keeps it small comes first.
const lean = async (load: () => Promise<unknown>) => {
  (await import('../../shared/young-heap.ts')).keepYoungHeapSmall();
  return await load();
};

module.exports = {
  server: () => lean(() => import('../../server/process.ts')),
  agent: () => lean(() => import('../../agent/process.ts')),
  cli: () => import('../../server/cli/process.ts'),
  start: () => import('../launch/process.ts'),
};
