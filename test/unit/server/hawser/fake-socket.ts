/** The server's end of an agent's WebSocket, with the agent's end in the test's hands. */
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import type { WebSocket } from 'ws';

// biome-ignore lint/suspicious/noExplicitAny: tests look into messages of every sort
export type Message = any;

export class FakeSocket extends EventEmitter {
  readonly OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  isPaused = false;
  /** Whether the other end does not read. */
  isStuck = false;
  /** How often it was paused. */
  pauses = 0;
  readonly sent: Message[] = [];
  closedWith: { code: number; reason: string } | undefined;
  isTerminated = false;
  /** What bytes would come by. */
  readonly raw = new PassThrough();

  /** As the server's code has it. */
  get ws(): WebSocket {
    return this as unknown as WebSocket;
  }

  /** @param taken is called as if the other end had taken it; never while `isStuck` */
  send(text: string, taken?: () => void): void {
    this.sent.push(JSON.parse(text));
    this.emit('sent');
    if (!this.isStuck) taken?.();
    else if (taken !== undefined) this.once('unstuck', taken);
  }

  /** The other end reads again. */
  unstick(): void {
    this.isStuck = false;
    this.bufferedAmount = 0;
    this.emit('unstuck');
  }

  close(code: number, reason: string): void {
    this.closedWith ??= { code, reason };
    this.readyState = 3;
    this.emit('close', code, Buffer.from(reason));
  }

  terminate(): void {
    this.isTerminated = true;
    this.readyState = 3;
    this.emit('close', 1006, Buffer.alloc(0));
  }

  pause(): void {
    this.isPaused = true;
    this.pauses++;
  }

  resume(): void {
    this.isPaused = false;
  }

  /** The agent says something. */
  say(message: object | string, isBinary = false): void {
    const text = typeof message === 'string' ? message : JSON.stringify(message);
    this.emit('message', Buffer.from(text), isBinary);
  }

  /** The first message of a type, once the server has sent it. */
  async heard(type: string): Promise<Message> {
    for (;;) {
      const found = this.sent.find((message) => message.type === type);
      if (found !== undefined) return found;
      await new Promise((resolve) => this.once('sent', resolve));
    }
  }

  ofType(type: string): Message[] {
    return this.sent.filter((message) => message.type === type);
  }
}
