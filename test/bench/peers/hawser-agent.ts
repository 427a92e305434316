/** The other process of the figure of Hawser: an agent that has a log of a given size, and sends it as fast as it is taken. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { serve } from '../peer.ts';

const MAX_UNSENT_BYTES = 1024 * 1024;
/** Messages between two looks at what is unsent. */
const AT_ONCE = 64;
const FRAME_HEAD_BYTES = 8;

export interface HawserAgentOptions {
  readonly url: string;
  readonly ca: string;
  readonly token: string;
}

/** The log that the next one who asks for a log gets. */
let log = { messages: 0, messageBytes: 0 };

/** A frame of standard output. */
function frame(bytes: number): Buffer {
  const made = Buffer.alloc(bytes, 'x');
  made.fill(0, 0, FRAME_HEAD_BYTES).writeUInt8(1, 0);
  made.writeUInt32BE(bytes - FRAME_HEAD_BYTES, 4);
  made.write('\n', bytes - 1);
  return made;
}

function answer(path: string): object {
  if (path === '/version') return { Version: '20.10.24', ApiVersion: '1.41', Os: 'linux', Arch: 'amd64' };
  return { Id: 'a'.repeat(64), Name: '/logger', Config: { Tty: false }, State: { Running: true } };
}

async function sendLog(ws: WebSocket, requestId: string): Promise<void> {
  const data = frame(log.messageBytes).toString('base64');
  const message = JSON.stringify({ type: 'stream', requestId, data });
  for (let sent = 0; sent < log.messages && ws.readyState === WebSocket.OPEN; sent++) {
    ws.send(message);
    while (sent % AT_ONCE === 0 && ws.bufferedAmount > MAX_UNSENT_BYTES) await sleep(1);
  }
  ws.send(JSON.stringify({ type: 'stream_end', requestId, reason: 'completed' }));
}

const methods = {
  async connect({ url, ca, token }: HawserAgentOptions): Promise<void> {
    const ws = new WebSocket(url, { perMessageDeflate: false, ca });
    await once(ws, 'open');
    const names = { agentId: 'bench', agentName: 'bench', hostname: 'bench', token };
    const hello = { type: 'hello', version: '0.2.14', protocol: '1.0', dockerVersion: '20.10.24', ...names };
    ws.send(JSON.stringify({ ...hello, capabilities: ['exec', 'metrics', 'events'] }));
    ws.on('message', (text) => {
      const { type, requestId, path, streaming } = JSON.parse(String(text));
      if (type !== 'request' || path.startsWith('/events')) return;
      const body = JSON.stringify(answer(path));
      if (streaming) void sendLog(ws, requestId);
      else ws.send(JSON.stringify({ type: 'response', requestId, statusCode: 200, headers: {}, body }));
    });
  },
  have(wanted: typeof log): void {
    log = wanted;
  },
};

export type HawserAgentPeer = typeof methods;
serve(methods);
