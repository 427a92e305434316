/** A client of the exec WebSocket for tests: collects what comes, sends what a test says. */
import { once } from 'node:events';
import type { WebSocket } from 'ws';
import type { Api } from './http.ts';
import { waitFor, within } from './wait.ts';

export interface ExecParams {
  cmd: string[];
  tty?: boolean;
  separate?: boolean;
  cols?: number;
  rows?: number;
  user?: string;
  workdir?: string;
  env?: string[];
}

export class ExecClient {
  readonly webSocket: WebSocket;
  /** All bytes, with the leading stream bytes taken off when `separate` was asked for. */
  output = '';
  stderr = '';
  exitCode: number | undefined;
  close: { code: number; reason: string } | undefined;
  readonly closed: Promise<{ code: number; reason: string }>;

  private constructor(webSocket: WebSocket, separate: boolean) {
    this.webSocket = webSocket;
    webSocket.on('error', () => undefined); // told by `closed`
    webSocket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) this.exitCode = JSON.parse(data.toString()).exit?.code ?? this.exitCode;
      else if (!separate) this.output += data.toString('latin1');
      else if (data[0] === 2) this.stderr += data.toString('latin1', 1);
      else this.output += data.toString('latin1', 1);
    });
    this.closed = new Promise((resolve) => {
      webSocket.once('close', (code, reason) => {
        this.close = { code, reason: reason.toString() };
        resolve(this.close);
      });
    });
  }

  static async open(api: Api, host: string, container: string, params: ExecParams): Promise<ExecClient> {
    const query = new URLSearchParams();
    for (const part of params.cmd) query.append('cmd', part);
    for (const part of params.env ?? []) query.append('env', part);
    if (params.tty) query.set('tty', '1');
    if (params.separate) query.set('separate', '1');
    for (const name of ['cols', 'rows', 'user', 'workdir'] as const) {
      if (params[name] !== undefined) query.set(name, String(params[name]));
    }
    return await ExecClient.at(api, `/api/v1/hosts/${host}/containers/${container}/exec?${query}`, params.separate);
  }

  /** Of any route that speaks as exec does. */
  static async at(api: Api, path: string, separate = false): Promise<ExecClient> {
    const webSocket = api.webSocket(path);
    const client = new ExecClient(webSocket, separate);
    await once(webSocket, 'open');
    return client;
  }

  type(text: string): void {
    this.webSocket.send(Buffer.from(text), { binary: true });
  }

  control(value: unknown): void {
    this.webSocket.send(JSON.stringify(value));
  }

  async waitForOutput(pattern: RegExp): Promise<void> {
    await waitFor(`${pattern} in the output of exec`, () => pattern.test(this.output), {
      context: () => JSON.stringify({ output: this.output, close: this.close }),
      failed: () => (this.close === undefined || pattern.test(this.output) ? undefined : 'it was closed'),
    });
  }

  /** @returns the exit code, once the connection is closed */
  async end(): Promise<number | undefined> {
    await within(15_000, 'the end of exec', this.closed, () => JSON.stringify(this.output));
    return this.exitCode;
  }
}
