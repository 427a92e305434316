/** A site with no network but its own: a namespace that has a loopback device and nothing else, so no route and no DNS. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchCommand } from '../support/launcher.ts';
import { within } from '../support/wait.ts';

/** Only root may make a network by itself; others become root of a namespace of users first. */
const NAMESPACE = process.getuid?.() === 0 ? ['--net'] : ['--net', '--map-root-user'];
const CHILD = fileURLToPath(new URL('../support/air-gap-child.ts', import.meta.url));

test('server, agent and an offline root work with no internet and no DNS', { timeout: 180_000 }, async (t) => {
  const site = launchCommand(t, 'unshare', [
    ...NAMESPACE,
    'sh',
    '-c',
    'PATH=$PATH:/usr/sbin:/sbin ip link set lo up && exec "$0" "$1"',
    process.execPath,
    CHILD,
  ]);
  const exit = await within(150_000, 'the end of the site', site.exited, () => site.transcript());
  assert.equal(exit.code, 0, site.transcript());
  assert.match(site.stdout, /^no network, no DNS$/m);
  assert.match(site.stdout, /^enrolled, online, followed, an offline root above, verified$/m);
});
