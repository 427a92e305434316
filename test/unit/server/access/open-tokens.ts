/** What the tests of API tokens share. */
import type { TestContext } from 'node:test';
import { ApiTokens } from '../../../../server/access/api-tokens.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { openTestStore } from '../store/fixture.ts';

/** Of the CA that tokens are for. */
export const PIN = `sha256:${'ab'.repeat(32)}`;
export const ACTOR = { name: 'ann', address: '192.0.2.1' };

/** The tokens of a store of its own. */
export async function openTokens(t: TestContext) {
  const opened = await openTestStore(t);
  const { store, clock } = opened;
  const logged: unknown[] = [];
  const log = { error: (line: unknown) => void logged.push(line), warn: (line: unknown) => void logged.push(line) };
  const audit = new Audit({ store, clock, log });
  return { ...opened, logged, audit, tokens: new ApiTokens({ store, audit, clock, log, caFingerprint: PIN }) };
}
