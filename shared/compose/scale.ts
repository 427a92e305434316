/** How many containers the services of a Compose file have, changed in the file: for a Compose that is told it in no other way. */
import { parseDocument } from 'yaml';

/** A file that was checked, with other numbers of containers for some of its services. */
export function scaled(compose: string, services: Readonly<Record<string, number>>): string {
  const document = parseDocument(compose, { merge: true });
  for (const [name, count] of Object.entries(services)) {
    const path = ['services', name];
    document.setIn([...path, 'scale'], count);
    // Compose refuses a file in which the two say different things.
    if (document.hasIn([...path, 'deploy', 'replicas'])) document.setIn([...path, 'deploy', 'replicas'], count);
  }
  return String(document);
}
