/** The configuration as it is shown. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readConfig } from '../../../../server/config.ts';
import { shownConfiguration } from '../../../../server/diagnostics/configuration.ts';
import { ServerFlags } from '../../../../server/server-flags.ts';
import { readFlags } from '../../../../shared/flags.ts';
import { tempDir } from '../../../support/tmp.ts';

test('neither secrets nor the ways to them are in it', async (t) => {
  const dir = await tempDir(t);
  const secret = join(dir, 'a-telling-name');
  await writeFile(secret, 'hunter2hunter2');
  const given = {
    dataDir: join(dir, 'data'),
    caPassphraseFile: secret,
    auditWebhook: 'https://receiver.example/hook/token-in-a-path?key=token-in-a-query',
    auditWebhookSecretFile: secret,
    auditFile: join(dir, 'audit.ndjson'),
  };
  const shown = shownConfiguration(await readConfig(readFlags(ServerFlags, given, {})));
  const text = JSON.stringify(shown);
  for (const hidden of [dir, 'telling', 'hunter2', 'token-in'])
    assert.ok(!text.includes(hidden), `${hidden} in ${text}`);
  assert.deepEqual(
    [shown['auditWebhook'], shown['auditFile'], shown['caKeysRestUnder'], shown['apiListen'], shown['hawser']],
    ['receiver.example', true, 'a passphrase from a file', 'tcp://0.0.0.0:8440', true],
  );
});
