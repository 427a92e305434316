/** Where agents of Hawser connect: a WebSocket there is another route than a request, which needs a bearer. */
import type { IncomingMessage } from 'node:http';
import { asksForWebSocket } from './upgrades.ts';

export const HAWSER_SOCKET = '/api/hawser/edge';
const CONNECT = /^\/api\/hawser\/connect(?=$|\?)/;

/** The URL by which a request is routed. */
export function hawserUrl(request: IncomingMessage, url: string): string {
  return CONNECT.test(url) && asksForWebSocket(request) ? url.replace(CONNECT, HAWSER_SOCKET) : url;
}
