/** `npm run bench [-- NAME…]`: measures the figures, all or those named, and prints the table. */
import { cpus } from 'node:os';
import { keepYoungHeapSmall } from '../../shared/young-heap.ts';
import { audit } from './figures/audit.ts';
import { bulk } from './figures/bulk.ts';
import { calls } from './figures/calls.ts';
import { certificates } from './figures/certificates.ts';
import { changingLink } from './figures/changing-link.ts';
import { compression } from './figures/compression.ts';
import { docker } from './figures/docker.ts';
import { handshakes } from './figures/handshakes.ts';
import { hawser } from './figures/hawser.ts';
import { idleAgent } from './figures/idle-agent.ts';
import { idleAgents } from './figures/idle-agents.ts';
import { metrics } from './figures/metrics.ts';
import { revocation } from './figures/revocation.ts';
import { slowLinks } from './figures/slow-links.ts';
import { stalled } from './figures/stalled.ts';
import { type Row, renderTable } from './table.ts';

const FIGURES: Record<string, () => Promise<Row[]>> = {
  bulk,
  calls,
  stalled,
  'slow-links': slowLinks,
  'changing-link': changingLink,
  compression,
  'idle-agent': idleAgent,
  'idle-agents': idleAgents,
  handshakes,
  certificates,
  audit,
  metrics,
  revocation,
  docker,
  hawser,
};

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter((name) => !Object.hasOwn(FIGURES, name));
  if (unknown.length > 0) {
    console.error(`no such figure: ${unknown.join(', ')}; there are ${Object.keys(FIGURES).join(', ')}`);
    return 2;
  }
  const rows: Row[] = [];
  let exitCode = 0;
  for (const [name, measure] of Object.entries(FIGURES)) {
    if (names.length > 0 && !names.includes(name)) continue;
    console.error(`measuring ${name} …`);
    try {
      rows.push(...(await measure()));
    } catch (error) {
      console.error(`${name} failed:`, error);
      exitCode = 1;
    }
  }
  console.log(`\nNode ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}\n`);
  console.log(renderTable(rows));
  return exitCode;
}

// As the product does in its own processes; baselines run under the same terms.
keepYoungHeapSmall();
process.exit(await main(process.argv.slice(2)));
