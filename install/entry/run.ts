// Loads a program once check-node has let this Node pass. The paths stand here, not in the entry points, because those
// are reached through symbolic links from the programs' own folders.

module.exports = {
  server: () => import('../../server/process.ts'),
  agent: () => import('../../agent/process.ts'),
  cli: () => import('../../server/cli/process.ts'),
  start: () => import('../launch/process.ts'),
};
