/** A program that adds row after row to the audit log named on its command line, some in transactions, until it is killed. */
import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import { openCa } from '../../certs/authority.ts';
import { Audit } from '../../server/audit/audit.ts';
import { AuditTrail } from '../../server/audit/audit-trail.ts';
import { openStore } from '../../server/store/store.ts';
import { systemClock as clock } from '../../shared/clock.ts';

const [, , dataDir = '', caFile = ''] = process.argv;
const material = JSON.parse(readFileSync(caFile, 'utf8')) as { certPem: string; keyPem: string };
const ca = openCa(material);
const store = await openStore({ dataDir, clock });
const log = pino(pino.destination({ dest: 2, sync: true }));
const audit = new Audit({ store, clock, log, writeIntervalMs: 5 });
const policy = { keepMs: undefined, file: `${dataDir}.ndjson`, webhook: undefined };
await AuditTrail.open({
  store,
  audit,
  authority: { trust: () => ({ pem: ca.certPem }), ca },
  policy,
  clock,
  log,
  random: Math.random,
});

async function writeForEver(writer: number): Promise<void> {
  for (let n = 0; ; n++) {
    const entry = { actor: `writer ${writer}`, action: 'x', result: 'ok' as const, detail: { writer, n } };
    if (n % 5 === 0) await store.transaction((tables) => audit.record(entry, tables));
    else await audit.record(entry);
    process.stdout.write(`${JSON.stringify({ writer, n })}\n`);
  }
}

// The queue's own timers keep no process; a server has its listeners.
setInterval(() => undefined, 60_000);
await Promise.all(Array.from({ length: 20 }, (_, writer) => writeForEver(writer)));
