/** How a dialled host comes and goes: by looks at its agent, with pauses that grow, and by a clock that is passed in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { StandardHost, type StandardHostOptions } from '../../../../../server/hawser/standard/standard-host.ts';
import { neverSent } from '../../../../../server/hawser/unary.ts';
import { HostRegistry } from '../../../../../server/hosts/registry.ts';
import { Turns } from '../../../../../server/turns.ts';
import { containerList } from '../../../../../shared/messages/container.ts';
import { Once } from '../../../../../shared/once.ts';
import { FakeClock } from '../../../../support/fake-clock.ts';
import { type StandardAgent, standardAgent } from '../../../../support/hawser-standard-agent.ts';
import { ScriptedEngine } from '../../../../support/scripted-engine.ts';
import { type Cleanup, defer } from '../../../../support/tmp.ts';
import { waitFor } from '../../../../support/wait.ts';

const HOST_ID = '11111111-1111-4111-8111-111111111111';

/** Dials `agent`; `events` is what becomes of the host. */
function dial(scope: Cleanup, agent: StandardAgent, more: Partial<StandardHostOptions> = {}) {
  const clock = new FakeClock();
  const registry = new HostRegistry();
  const events: string[] = [];
  registry.subscribe({ online: () => events.push('online'), offline: (_, { message }) => events.push(message) });
  const host = new StandardHost({
    ...{ hostId: HOST_ID, clock, registry, random: () => 0, log: pino({ level: 'silent' }) },
    address: { url: new URL(agent.url), token: 'secret' },
    turns: new Turns(1),
    once: new Once({ clock, undone: neverSent }),
    isWanted: async () => true,
    ...more,
  });
  defer(scope, () => host.close('SHUTDOWN', 'the test is over'));
  /** Lets time pass, second by second, until something is so. @returns how many seconds that took */
  const pass = async (what: string, isSo: () => boolean, mostSeconds = 200): Promise<number> => {
    for (let seconds = 0; seconds <= mostSeconds; seconds++) {
      // What the agent has been asked is answered in real time.
      for (let looks = 0; looks < 20 && !isSo(); looks++) await turn();
      await waitFor('an answer', () => isSo() || agent.busy === 0);
      if (isSo()) return seconds;
      clock.advance(1_000);
    }
    throw new Error(`${what} did not come within ${mostSeconds} s`);
  };
  return { clock, registry, events, host, pass, isOnline: () => registry.link(HOST_ID) !== undefined };
}

async function anAgent(scope: Cleanup, options: object = {}): Promise<StandardAgent> {
  const engine = await ScriptedEngine.start(scope);
  return await standardAgent(scope, { token: 'secret', docker: engine.socket, ...options });
}

test('a host whose agent goes away is offline at the next look, and comes back when it does', async (t) => {
  const agent = await anAgent(t);
  const { pass, isOnline, events, host } = dial(t, agent);
  await pass('the host', isOnline);
  await agent.stop();
  assert.ok((await pass('its end', () => !isOnline())) <= 16);
  assert.match(host.state.error ?? '', /refused/);
  const again = await anAgent(t, { port: agent.port, agentId: 'another' });
  assert.ok((await pass('its return', isOnline)) <= 61);
  assert.deepEqual(events.filter((event) => event === 'online').length, 2);
  assert.equal(host.state.error, undefined);
  assert.ok(again.tokens.has('secret'));
});

test('an agent that does not look well is asked three times before it counts as gone', async (t) => {
  const agent = await anAgent(t);
  const { pass, isOnline, registry } = dial(t, agent);
  await pass('the host', isOnline);
  const link = registry.link(HOST_ID);
  agent.faults.isHealthy = false;
  const before = agent.asked.length;
  const seconds = await pass('its end', () => !isOnline());
  assert.ok(seconds >= 18 && seconds <= 22, `${seconds} s`);
  assert.equal(agent.asked.slice(before).filter((line) => line.endsWith('/info')).length, 3);
  await assert.rejects(link?.call(containerList, {}) ?? Promise.resolve(), { code: 'HOST_OFFLINE' });
  agent.faults.isHealthy = true;
  await pass('its return', isOnline);
});

test('an agent that was started anew is a new session at once', async (t) => {
  const agent = await anAgent(t, { agentId: 'one' });
  const { pass, events } = dial(t, agent);
  await pass('the host', () => events.length === 1);
  agent.identity.agentId = 'two';
  await pass('the new session', () => events.length === 3);
  assert.match(events[1] ?? '', /started anew/);
});

for (const status of [401, 429]) {
  test(`an agent that refuses with ${status} is not asked again for a minute`, async (t) => {
    const agent = await anAgent(t);
    agent.faults.refuses = status;
    const { pass, isOnline, host } = dial(t, agent);
    await pass('the refusal', () => host.state.error !== undefined);
    assert.match(host.state.error ?? '', status === 401 ? /does not accept the token/ : /too many wrong tokens/);
    const asked = agent.asked.length;
    agent.faults.refuses = undefined;
    assert.ok((await pass('the host', isOnline)) >= 60);
    assert.ok(agent.asked.length > asked);
  });
}

test('a host that another agent has taken over is dialled no more', async (t) => {
  const agent = await anAgent(t);
  let isWanted = false;
  const { clock, host } = dial(t, agent, { isWanted: async () => isWanted });
  await turn();
  clock.advance(1_000);
  await turn();
  isWanted = true;
  clock.advance(600_000);
  await host.close('SHUTDOWN', 'over');
  assert.deepEqual(agent.asked, []);
});
