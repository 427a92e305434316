/** What is said of executables for new hosts, of releases and of rollouts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DiagnosticParts } from '../../../../server/diagnostics/parts.ts';
import { releaseChecks } from '../../../../server/diagnostics/release-checks.ts';
import { FairleadError } from '../../../../shared/errors.ts';

const running = { id: 'r1', version: '1.1.0', progress: { state: 'running', reason: undefined, endedAt: undefined } };
const halted = { state: 'halted', reason: '2 hosts have failed, and 1 may', endedAt: undefined };

interface Found {
  readonly architectures?: readonly string[];
  readonly releases?: readonly object[];
  readonly rollouts?: readonly object[];
}

async function checksOf({ architectures = ['x64'], releases = [], rollouts = [running] }: Found) {
  let open = 0;
  const parts = {
    agentFiles: {
      open: async ({ arch }: { arch: string }) => {
        if (!architectures.includes(arch)) throw new FairleadError('NOT_FOUND', 'none');
        open += 1;
        const close = async () => {
          open -= 1;
        };
        return { handle: { close } };
      },
    },
    releases: { list: () => releases },
    store: { rollouts: { list: async () => ({ items: rollouts }) } },
  };
  const checks = await releaseChecks(parts as unknown as DiagnosticParts);
  assert.equal(open, 0);
  return checks;
}

test('what is there is named', async () => {
  const releases = [{ version: '1.1.0', sequence: 4, state: 'ready' }];
  const checks = await checksOf({ architectures: ['x64', 'arm64'], releases });
  assert.deepEqual(
    checks.map(({ level }) => level),
    ['ok', 'ok', 'ok'],
  );
  assert.match(checks[0]?.summary ?? '', /linux\/x64, linux\/arm64/);
  assert.match(checks[1]?.summary ?? '', /1\.1\.0, sequence 4/);
});

test('a server without executables, releases without theirs and halted rollouts are warned of, with advice', async () => {
  const checks = await checksOf({
    architectures: [],
    releases: [{ version: '1.2.0', sequence: 5, state: 'incomplete' }],
    rollouts: [running, { id: 'r2', version: '1.1.0', progress: halted }],
  });
  assert.deepEqual(
    checks.map(({ level }) => level),
    ['warn', 'warn', 'warn'],
  );
  assert.match(checks[0]?.summary ?? '', /installs nothing/);
  assert.match(checks[1]?.summary ?? '', /1\.2\.0/);
  assert.match(checks[2]?.summary ?? '', /^halted: r2 of 1\.1\.0 \(2 hosts have failed/);
  for (const { advice } of checks) assert.match(advice ?? '', /`/);
  const over = { id: 'r3', version: '1.1.0', progress: { ...halted, endedAt: 1 } };
  assert.equal((await checksOf({ rollouts: [over] }))[2]?.level, 'ok');
});

test('a disk that cannot be read is no missing executable', async () => {
  const agentFiles = {
    open: async () => {
      throw new Error('EIO');
    },
  };
  await assert.rejects(releaseChecks({ agentFiles } as unknown as DiagnosticParts), /EIO/);
});
