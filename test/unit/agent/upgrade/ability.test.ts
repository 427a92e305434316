import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { inability } from '../../../../agent/upgrade/ability.ts';
import { MAX_REASON_CHARS } from '../../../../shared/limits.ts';
import type { HostPolicy } from '../../../../shared/messages/control.ts';
import type { ReleaseKeys } from '../../../../shared/releases/signature.ts';
import { upgradeHost } from '../../../support/upgrades.ts';

const policy: HostPolicy = { allow: [], deny: [] };

test('an executable of its own, in a folder of its own, with a key, and an owner who has nothing against it', async (t) => {
  const { executable, keys } = await upgradeHost(t);
  const own = { executable, isLaunched: false };
  assert.equal(await inability(own, { keys, policy }), undefined);
  assert.equal(await inability(own, { keys, policy: { allow: ['full'], deny: [] } }), undefined);
  assert.equal(await inability(own, { keys, policy: { allow: ['read-only', 'agent.upgrade'], deny: [] } }), undefined);
});

test('whatever is missing is named', async (t) => {
  const { executable, keys } = await upgradeHost(t);
  const own = { executable, isLaunched: false };
  const why = async (
    change: Partial<Parameters<typeof inability>[0]>,
    context: { keys: ReleaseKeys; policy: HostPolicy } = { keys, policy },
  ) => {
    const reason = (await inability({ ...own, ...change }, context)) ?? '';
    assert.ok(reason.length < MAX_REASON_CHARS);
    return reason;
  };
  assert.match(await why({ executable: undefined }), /does not run as one executable/);
  assert.match(await why({ isLaunched: true }), /a launcher holds/);
  assert.match(await why({}, { policy, keys: new Map() }), /knows no key/);
  for (const deny of ['agent.upgrade', 'agent', 'agent.*', 'change', '*']) {
    assert.match(await why({}, { keys, policy: { allow: [], deny: [deny] } }), /policy does not allow agent\.upgrade/);
  }
  for (const allow of ['read-only', 'operate', 'container.*']) {
    assert.match(await why({}, { keys, policy: { allow: [allow], deny: [] } }), /policy does not allow/);
  }
  assert.match(await why({ executable: '/nowhere/fairlead-agent' }), /cannot write .* \(ENOENT\)/);
  assert.match(await why({ executable: '/proc/self/fairlead-agent' }), /cannot write|others may write/);
  await chmod(dirname(executable), 0o777);
  assert.match(await why({}), /others may write/);
});
