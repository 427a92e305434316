/** What something costs, in time of processors: what other programs take meanwhile does not count. */

/** Runs `work` and tells the time that this process's threads spent on processors meanwhile, in ms. */
export async function cpuMs(work: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** The least of a few runs: a collection of garbage or a compilation that falls into one is not the work's. */
export async function leastCpuMs(runs: number, work: () => unknown): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run += 1) least = Math.min(least, await cpuMs(work));
  return least;
}
