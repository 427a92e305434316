/** What Hawser's modes work with, before a Docker that answers as a test says. */
import type { RequestListener } from 'node:http';
import { pino } from 'pino';
import { DockerEngine } from '../../../../agent/docker/engine.ts';
import type { HawserContext } from '../../../../agent/hawser/context.ts';
import type { ChangeCaller } from '../../../../agent/stacks/stacks.ts';
import type { StackParams } from '../../../../agent/stacks/steps.ts';
import { type Ca, createCa, openCa } from '../../../../certs/authority.ts';
import { type Clock, systemClock } from '../../../../shared/clock.ts';
import type { StackChangeKind } from '../../../../shared/stacks/change.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';
import { fakeDocker, type Hijacked } from '../docker/fake-docker.ts';

export const TOKEN = 'a-token-of-enough-characters';
export const AGENT_ID = '00000000-0000-4000-8000-000000000001';

/** A change that the stacks of a test were asked for. */
export interface AskedChange {
  readonly kind: string;
  readonly params: StackParams;
}

class FakeStacks {
  readonly changes: AskedChange[] = [];
  readonly looks: unknown[] = [];
  /** What a change says as it works, and what it then fails with, if it does. */
  lines: string[] = [];
  failure: Error | undefined;
  version: Error | string = '2.26.1';

  async change(kind: StackChangeKind, params: StackParams, caller: ChangeCaller): Promise<void> {
    this.changes.push({ kind: kind.name, params });
    caller.ready('2.26.1');
    for (const line of this.lines) await caller.progress({ step: 'up', line });
    if (this.failure !== undefined) throw this.failure;
  }

  async look(kind: { name: string }, look: object, params: object): Promise<string> {
    this.looks.push({ kind: kind.name, ...look, ...params });
    return 'what compose prints\n';
  }

  async composeVersion(): Promise<string> {
    if (this.version instanceof Error) throw this.version;
    return this.version;
  }
}

export interface ContextOptions {
  readonly clock?: Clock;
  readonly allow?: string[];
  readonly deny?: string[];
}

export interface Fixture {
  readonly context: HawserContext;
  readonly stacks: FakeStacks;
  /** What was logged. */
  readonly lines: string[];
}

/** Everything but Docker: that is at `socket`. */
export async function contextAt(cleanup: Cleanup, socket: string, options: ContextOptions = {}): Promise<Fixture> {
  const { clock = systemClock, allow = [], deny = [] } = options;
  const policy = { allow, deny };
  const lines: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) });
  const docker = new DockerEngine({ socket, policy, clock, log });
  defer(cleanup, () => docker.close());
  await docker.start();
  const stacks = new FakeStacks();
  const context = { docker, stacks, policy, clock, log, agentId: AGENT_ID, agentName: 'shed' };
  return { context, stacks, lines };
}

/** Everything, before a Docker that answers as `answer` does. */
export async function fixture(
  cleanup: Cleanup,
  answer: RequestListener,
  options: ContextOptions & { readonly hijacked?: Hijacked } = {},
): Promise<Fixture> {
  const docker = await fakeDocker(cleanup, answer, options.hijacked);
  return await contextAt(cleanup, docker.socket, options);
}

/** A CA and a certificate of it for this machine, with its key, in PEM. */
export async function tlsPair(): Promise<{ ca: string; cert: string; key: string }> {
  const installationId = '00000000-0000-4000-8000-000000000002';
  const material = await createCa({ installationId, clock: systemClock, bits: 2048 });
  const authority: Ca = openCa(material);
  const { certPem, keyPem } = await authority.issueServer({
    publicHosts: ['localhost', '127.0.0.1'],
    clock: systemClock,
  });
  return { ca: authority.rootPem, cert: certPem, key: keyPem };
}
