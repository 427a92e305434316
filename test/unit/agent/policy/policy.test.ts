import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkDenials, idleEntries, mergePolicy, permits } from '../../../../agent/policy/policy.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { containerExecOpen, containerList, containerStop } from '../../../../shared/messages/container.ts';
import { hostInfo } from '../../../../shared/messages/host.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';
import { tcpOpen } from '../../../../shared/messages/tcp.ts';

const none = { allow: [], deny: [] };

test('without entries everything is served but what must be named', () => {
  const [served, named] = [true, false].map((is) => STREAM_KINDS.filter((kind) => permits(none, kind) === is));
  assert.ok(served?.includes(containerExecOpen));
  assert.deepEqual(named, [tcpOpen]);
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
  const policy = { allow: ['container.*', 'gadget.*'], deny: ['exec', 'container.exce.open'] };
  assert.deepEqual(idleEntries(policy, STREAM_KINDS), ['gadget.*', 'container.exce.open']);
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

test('presets stand beside other entries, and a denial takes from them', () => {
  const policy = mergePolicy({}, { allow: ['read-only', 'container.restart'], deny: ['container.log'] });
  assert.ok(permits(policy, containerList));
  assert.ok(!permits(policy, containerStop));
  assert.ok(permits(policy, { name: 'container.restart', policy: 'change' }));
  assert.ok(!permits(policy, { name: 'container.log.stream', policy: 'read' }));
});

test('a preset cannot be denied', () => {
  for (const preset of ['read-only', 'operate', 'full']) {
    assert.throws(() => mergePolicy({}, { deny: [preset] }), /--deny: .* can only be allowed/);
  }
});

test('entries about Docker calls say nothing of kinds', () => {
  const policy = mergePolicy({}, { allow: ['docker:GET /containers/**'], deny: ['docker:DELETE'] });
  assert.ok(STREAM_KINDS.every((kind) => permits(policy, kind) === permits(none, kind)));
  assert.ok(!permits({ allow: ['read-only', 'docker:GET'], deny: [] }, containerStop));
});

test('what flags allow of Docker calls does not widen what the file allows of kinds, nor the other way', () => {
  const file = { allow: ['read-only', 'docker:GET'] };
  assert.deepEqual(mergePolicy(file, { allow: ['docker:GET /info'] }).allow, ['read-only', 'docker:GET /info']);
  assert.deepEqual(mergePolicy(file, { allow: ['operate'] }).allow, ['operate', 'docker:GET']);
});

test('an error names the entry and where it stands', () => {
  const file = '/etc/fairlead-agent/agent.json';
  const cases: [() => unknown, RegExp][] = [
    [
      () => mergePolicy({ allow: ['Exec'] }, {}, file),
      /^allow in \/etc\/fairlead-agent\/agent.json: "Exec" names no kind/,
    ],
    [
      () => mergePolicy({ deny: ['docker:GET x'] }, {}, file),
      /^deny in .*agent.json: "docker:GET x" names no Docker call/,
    ],
    [() => mergePolicy({}, { allow: ['docker:FETCH'] }, file), /^--allow: "docker:FETCH" names no Docker call; write/],
    [() => mergePolicy({}, { deny: ['x'.repeat(500)] }), /^--deny: "x{64}…" is longer than 64 characters$/],
    [() => checkDenials({ deny: ['exce'] }, STREAM_KINDS, `deny in ${file}`), /^deny in .*agent.json: "exce" names no/],
  ];
  for (const [read, message] of cases) assert.throws(read, { code: 'VALIDATION', message });
});

test('a policy has no more entries than the hello takes', () => {
  const short = Array.from({ length: 300 }, (_, index) => index.toString(36));
  assert.throws(() => mergePolicy({ deny: short }, none), { code: 'VALIDATION' });
});

test('entries about parts of Docker that do not exist are found', () => {
  const policy = { allow: ['docker:GET /contaners/**'], deny: ['docker:DELETE /images/*'] };
  assert.deepEqual(idleEntries(policy, STREAM_KINDS), ['docker:GET /contaners/**']);
});
