/** Table `host_tags`: the tags of the hosts once more, one a row, for lists that are cut down to some. */
import type { Db } from './tables.ts';

/** Makes `tags` the host's own. Belongs into one transaction with the host's row. */
export async function putTags(db: Db, hostId: string, tags: readonly string[]): Promise<void> {
  await db.deleteFrom('host_tags').where('host_id', '=', hostId).execute();
  const rows = [...new Set(tags)].map((tag) => ({ host_id: hostId, tag }));
  if (rows.length > 0) await db.insertInto('host_tags').values(rows).execute();
}
