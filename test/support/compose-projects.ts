/** What Compose has made for one project, at any Engine. */
import type { TestDocker } from './docker.ts';

/** A filter for what is of `project`, as the query of a list takes it. */
export function projectFilter(project: string): string {
  return encodeURIComponent(JSON.stringify({ label: [`com.docker.compose.project=${project}`] }));
}

/** Removes the containers of a project, and then its networks and volumes. */
export async function removeProject({ api }: Pick<TestDocker, 'api'>, project: string): Promise<void> {
  const filters = projectFilter(project);
  for (const { Id } of (await api('GET', `/containers/json?all=1&filters=${filters}`)).body) {
    await api('DELETE', `/containers/${Id}?force=1`);
  }
  for (const { Id } of (await api('GET', `/networks?filters=${filters}`)).body) await api('DELETE', `/networks/${Id}`);
  for (const { Name } of (await api('GET', `/volumes?filters=${filters}`)).body.Volumes ?? []) {
    await api('DELETE', `/volumes/${Name}`);
  }
}
