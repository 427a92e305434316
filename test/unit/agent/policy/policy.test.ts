import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkDenials, idleEntries, mergePolicy, permits } from '../../../../agent/policy/policy.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { containerExecOpen, containerList, containerStop } from '../../../../shared/messages/container.ts';
import { hostInfo } from '../../../../shared/messages/host.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';

const none = { allow: [], deny: [] };

test('without entries everything is served', () => {
  assert.ok(STREAM_KINDS.every((kind) => permits(none, kind)));
});

test('allow names what is served, and nothing else is', () => {
  const policy = { allow: ['container.list', 'host.*'], deny: [] };
  assert.ok(permits(policy, containerList));
  assert.ok(permits(policy, hostInfo));
  assert.ok(!permits(policy, containerStop));
});

test('deny wins', () => {
  const policy = { allow: ['*'], deny: ['container.exec.*'] };
  assert.ok(!permits(policy, containerExecOpen));
  assert.ok(permits(policy, containerList));
  assert.ok(!permits({ allow: ['container.list'], deny: ['*'] }, containerList));
});

test('a class names all kinds of that class', () => {
  const policy = { allow: ['read'], deny: [] };
  assert.ok(permits(policy, containerList));
  assert.ok(!permits(policy, containerStop));
  assert.ok(!permits(policy, containerExecOpen));
  assert.ok(!permits({ allow: [], deny: ['exec'] }, containerExecOpen));
});

test('a family is named by its prefix up to a dot, not by any beginning', () => {
  const subject = { name: 'containers.list', policy: 'read' } as const;
  assert.ok(permits({ allow: [], deny: ['container.*'] }, subject));
  assert.ok(permits({ allow: [], deny: ['containers.l'] }, subject));
});

test('flags replace the allow list of the file and add to its deny list', () => {
  const file = { allow: ['read'], deny: ['exec'] };
  assert.deepEqual(mergePolicy(file, none), file);
  assert.deepEqual(mergePolicy(file, { allow: ['*'], deny: ['change', 'exec'] }), {
    allow: ['*'],
    deny: ['exec', 'change'],
  });
  assert.deepEqual(mergePolicy({}, none), none);
});

test('what is no pattern is refused, and so is a policy too large for the hello', () => {
  const isRefused = (error: unknown) => isFairleadError(error, 'VALIDATION');
  for (const entry of ['', 'container.', '*.list', 'container.*.x', 'Container.list', 'a b', 'x'.repeat(65)]) {
    assert.throws(() => mergePolicy({ deny: [entry] }, none), isRefused, JSON.stringify(entry));
  }
  const many = Array.from({ length: 200 }, (_, index) => `container.kind-${index}`);
  assert.throws(() => mergePolicy({}, { allow: many, deny: [] }), isRefused);
});

test('entries that concern no kind are found', () => {
  const policy = { allow: ['container.*', 'image.*'], deny: ['exec', 'container.exce.open'] };
  assert.deepEqual(idleEntries(policy, STREAM_KINDS), ['image.*', 'container.exce.open']);
});

test('a name without its last part means all that it begins', () => {
  assert.ok(!permits({ allow: [], deny: ['container.exec'] }, containerExecOpen));
  assert.ok(permits({ allow: [], deny: ['container.ex'] }, containerExecOpen));
});

test('a denial that would deny nothing is refused; one of a later version is not', () => {
  const check = (...deny: string[]) => checkDenials({ allow: [], deny }, STREAM_KINDS);
  assert.throws(() => check('exce'), { code: 'VALIDATION' });
  assert.throws(() => check('exec', 'container.exce'), { code: 'VALIDATION' });
  check('exec', 'container.exec', '*', 'host.*', 'image.*', 'tcp.open');
});
