/** Tokens and the door of Hawser's agents over a real store; hashes cost nothing, and are counted. */
import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { type Derive, PasswordHasher } from '../../../../server/access/password-hash.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { HawserEdge } from '../../../../server/hawser/edge.ts';
import { HostOfToken } from '../../../../server/hawser/host-of-token.ts';
import { TokenCheck } from '../../../../server/hawser/token-check.ts';
import { HawserTokens } from '../../../../server/hawser/tokens.ts';
import type { AgentRefusal } from '../../../../server/hosts/agent-refusals.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { openStore } from '../../../../server/store/store.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type Cleanup, tempDir } from '../../../support/tmp.ts';
import { FakeSocket } from './fake-socket.ts';

export const ADMIN = { name: 'ann', address: '192.0.2.1' };

export interface HelloOptions {
  readonly agentId?: string;
  readonly address?: string;
}

export async function openEdge(cleanup: Cleanup) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) });
  const store = await openStore({ dataDir: await tempDir(cleanup, 'data'), clock });
  cleanup.after(() => store.close());
  const audit = new Audit({ store, clock, log });
  const hashes: string[] = [];
  const derive: Derive = async (password, salt, _parameters, bytes) => {
    hashes.push(password.toString());
    return createHash('shake256', { outputLength: bytes }).update(password).update(salt).digest();
  };
  const hasher = new PasswordHasher(derive);
  const tokens = new HawserTokens({ store, audit, clock, log, hasher });
  const check = new TokenCheck({ store, clock, log, hasher });
  const registry = new HostRegistry();
  const refusals: AgentRefusal[] = [];
  const edge = new HawserEdge({
    ...{ clock, log, registry, tokens, check },
    hostOf: new HostOfToken({ store, audit, clock }),
    onRefused: (refusal) => refusals.push(refusal),
  });
  cleanup.after(() => edge.close());

  const hello = (token: string, agentId: string) => ({
    ...{ type: 'hello', version: '0.2.14', protocol: '1.0', agentId, agentName: 'lab', token },
    ...{ dockerVersion: '20.10.24', hostname: 'vm', capabilities: ['exec', 'metrics', 'events'] },
  });
  /** An agent that connects and says hello; resolves once it was welcomed or refused. */
  const connect = async (token: string, { agentId = 'one', address = '192.0.2.7' }: HelloOptions = {}) => {
    const socket = new FakeSocket();
    const accepted = edge.accept({ ws: socket.ws, socket: socket.raw, address, onWelcome: () => undefined });
    await turn();
    socket.say(hello(token, agentId));
    await accepted;
    return socket;
  };
  return { clock, store, audit, tokens, check, registry, edge, refusals, hashes, lines, connect, hello };
}
