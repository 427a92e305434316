/** A process that opens connections at an even pace, sends a ClientHello on each and says nothing more. */
import net, { type Socket } from 'node:net';

/** Between two handfuls of connections. */
const TICK_MS = 10;
/** How long a connection is kept. */
const KEEP_MS = 2_000;

const [port, localAddress, perSecond, hello] = process.argv.slice(2);
const bytes = Buffer.from(hello ?? '', 'hex');
const open = new Map<Socket, number>();
let from = performance.now();
let opened = 0;
let isPaused = false;

process.on('disconnect', () => process.exit(0));
process.on('message', (wish) => {
  isPaused = wish === 'pause';
  opened = 0;
  from = performance.now();
  for (const socket of open.keys()) socket.destroy();
});
setInterval(() => {
  if (isPaused) return;
  const now = performance.now();
  const due = Math.floor(((now - from) / 1000) * Number(perSecond));
  for (; opened < due; opened++) {
    const socket = net.connect({ port: Number(port), host: '127.0.0.1', localAddress: localAddress ?? '' });
    open.set(socket, now);
    // What the server does with it is looked at from its other side.
    socket.on('error', () => undefined);
    socket.on('close', () => open.delete(socket));
    socket.write(bytes);
    socket.resume();
  }
  for (const [socket, at] of open) {
    if (now - at < KEEP_MS) break;
    socket.destroy();
  }
  process.send?.({ opened, ms: now - from });
}, TICK_MS);
