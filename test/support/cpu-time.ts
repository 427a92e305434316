/** What something costs, in time of processors: what other programs take meanwhile does not count. */

/** Runs `work` and tells the time that this process's threads spent on processors meanwhile, in ms. */
export async function cpuMs(work: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
