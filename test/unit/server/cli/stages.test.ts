/** Stages of a rollout on a command line: what is typed is what is meant, and what means nothing is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvalidArgumentError } from 'commander';
import { failures, stages, stageText } from '../../../../server/cli/stages.ts';

test('stages are numbers of hosts, parts of all, and tags', () => {
  assert.deepEqual(stages('1,10%, tag:lab,100%'), [{ hosts: 1 }, { percent: 10 }, { tag: 'lab' }, { percent: 100 }]);
  assert.equal(stages('1,10%,tag:lab').map(stageText).join(), '1,10%,tag:lab');
  for (const text of ['', '0', '0%', '101%', '1,,2', 'lab', 'tag:', '-1', '1.5']) {
    assert.throws(() => stages(text), InvalidArgumentError, text);
  }
});

test('failures are a number of hosts, or a part of them', () => {
  assert.deepEqual(['0', '12', '0%', '5%', '100%'].map(failures), [0, 12, '0%', '5%', '100%']);
  for (const text of ['', '-1', '101%', '05%', 'all', '1.5'])
    assert.throws(() => failures(text), InvalidArgumentError, text);
});
