/** What a scrape says of receivers of the audit log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { auditMetrics } from '../../../server/audit-metrics.ts';
import { NOTHING, openTrail } from './audit/trail.ts';

test('a webhook is named by its host alone: its path may be a secret', async (t) => {
  const url = new URL('http://127.0.0.1:9/in/secret-of-the-path?key=secret-of-the-query');
  const { trail } = await openTrail(t, { policy: { ...NOTHING, webhook: { url, secret: undefined, ca: undefined } } });
  const registry = new Registry();
  auditMetrics(registry, trail);
  // The ages are taken with the rows, and shown from the next scrape on.
  await registry.metrics();
  const scraped = await registry.metrics();
  for (const name of ['lag_rows', 'lag_seconds', 'failures', 'lost_rows']) {
    assert.match(scraped, new RegExp(`fairlead_audit_forward_${name}\\{receiver="webhook:127.0.0.1:9"\\} \\d`));
  }
  assert.doesNotMatch(scraped, /secret-of/);
});
