import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stackDeploy, stackScale } from '../../../shared/messages/stack.ts';
import { fits } from '../../../shared/validate.ts';

const DEPLOY = { stack: 'shop', changeId: 'x', compose: 'services: {}' };

test('names of variables and services that Compose could take for something else are refused', () => {
  assert.ok(fits(stackDeploy.params, { ...DEPLOY, env: { A: 'x', _b2: '' } }));
  for (const name of ['A\nCOMPOSE_FILE', 'A=B', 'two words', '2', '']) {
    assert.equal(fits(stackDeploy.params, { ...DEPLOY, env: { [name]: 'x' } }), false, JSON.stringify(name));
  }
  const state = { containers: 1, runs: true };
  assert.ok(fits(stackDeploy.params, { ...DEPLOY, state: { web: state } }));
  assert.equal(fits(stackDeploy.params, { ...DEPLOY, state: { '--web': state } }), false);
  assert.ok(fits(stackScale.params, { ...DEPLOY, services: { web: 2 } }));
  assert.equal(fits(stackScale.params, { ...DEPLOY, services: { '--web': 2 } }), false);
});
