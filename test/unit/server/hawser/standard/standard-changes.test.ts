/** A host that is online, and whose CA, pin or proxy is taken away: it is dialled anew, by what is left. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { pino } from 'pino';
import { createCa, openCa } from '../../../../../certs/authority.ts';
import { Audit } from '../../../../../server/audit/audit.ts';
import { StandardHosts } from '../../../../../server/hawser/standard/standard-hosts.ts';
import { HostRegistry } from '../../../../../server/hosts/registry.ts';
import { openStore } from '../../../../../server/store/store.ts';
import { systemClock } from '../../../../../shared/clock.ts';
import { FakeClock } from '../../../../support/fake-clock.ts';
import { standardAgent } from '../../../../support/hawser-standard-agent.ts';
import { ScriptedEngine } from '../../../../support/scripted-engine.ts';
import { type Cleanup, defer, tempDir } from '../../../../support/tmp.ts';
import { waitFor } from '../../../../support/wait.ts';

const ADMIN = { name: 'ann', address: '192.0.2.1' };
const INSTALLATION = '6e0f7d9c-6c0b-4a3a-9a43-0d9f0a7a3f10';

/** A host that is dialled by the CA of its agent's certificate, and online. */
async function live(scope: Cleanup) {
  const authority = openCa(await createCa({ installationId: INSTALLATION, clock: systemClock, bits: 2048 }));
  const leaf = await authority.issueServer({ publicHosts: ['127.0.0.1'], clock: systemClock });
  const engine = await ScriptedEngine.start(scope);
  const tls = { key: leaf.keyPem, cert: leaf.certPem };
  const agent = await standardAgent(scope, { token: 'secret', docker: engine.socket, tls });
  const clock = new FakeClock();
  const log = pino({ level: 'silent' });
  const store = await openStore({ dataDir: await tempDir(scope, 'data'), clock });
  scope.after(() => store.close());
  const hosts = await StandardHosts.open({
    ...{ store, clock, log, registry: new HostRegistry(), random: () => 0 },
    audit: new Audit({ store, clock, log }),
    secrets: {
      seal: async (bytes) => Buffer.from(bytes).toString('base64'),
      open: async (sealed) => Buffer.from(sealed, 'base64').toString('utf8'),
    },
  });
  defer(scope, () => hosts.close());
  const ca = authority.certPem;
  const pin = `sha256:${new X509Certificate(leaf.certPem).fingerprint256.replaceAll(':', '').toLowerCase()}`;
  const { hostId } = await hosts.add({ name: 'nas', url: agent.url, token: 'secret', ca }, ADMIN);
  const becomes = async (what: 'online' | 'refused') => {
    // It is dialled after a pause.
    clock.advance(5_000);
    await waitFor(`the host to be ${what}`, async () => {
      const { isOnline, error } = await hosts.get(hostId);
      return what === 'online' ? isOnline : !isOnline && error !== undefined;
    });
    return await hosts.get(hostId);
  };
  await becomes('online');
  const change = (to: Parameters<StandardHosts['change']>[1]) => hosts.change(hostId, to, ADMIN);
  return { agent, ca, pin, change, becomes };
}

test('without its CA or its pin an agent of a CA of its own is not trusted, and sees no token', async (t) => {
  const { agent, ca, pin, change, becomes } = await live(t);
  for (const [given, gone] of [
    [{ pin }, { pin: null }],
    [{ ca }, { ca: null }],
  ]) {
    const changed = await change(given ?? {});
    assert.deepEqual([changed.ca, changed.pin], [given?.ca, given?.pin], 'one takes the place of the other');
    await becomes('online');
    await change(gone ?? {});
    const asked = agent.asked.length;
    const { error, ...view } = await becomes('refused');
    assert.deepEqual([view.ca, view.pin], [undefined, undefined]);
    assert.match(error ?? '', /certificate/);
    assert.equal(agent.asked.length, asked);
  }
  await change({ pin });
  await becomes('online');
});

test('a proxy that is taken away is gone round, and what is trusted stays', async (t) => {
  const { ca, change, becomes } = await live(t);
  const through = await change({ proxy: 'http://ann:hidden@127.0.0.1:1' });
  assert.equal(through.proxy, 'http://127.0.0.1:1');
  const { error } = await becomes('refused');
  assert.doesNotMatch(error ?? '', /hidden/);
  await change({ proxy: null });
  const direct = await becomes('online');
  assert.deepEqual([direct.proxy, direct.ca], [undefined, ca]);
});
