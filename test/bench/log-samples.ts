/** Bytes as containers log them, made up from a fixed seed, as Docker hands them on; and noise in their place. */
import { createCipheriv } from 'node:crypto';

export type SampleName = 'access' | 'json' | 'noise';

export interface LogSample {
  readonly bytes: Buffer;
  readonly lines: number;
}

const SAMPLE_BYTES = 4 * 1024 * 1024;
const DOCKER_HEAD_BYTES = 8;
const START = Date.UTC(2026, 0, 1);

/** A linear congruential generator: enough for text that looks real, and the same in each run. */
class Dice {
  #state = 1;

  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return Math.floor((this.#state / 0x8000_0000) * limit);
  }

  of<T>(...choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0];
  }

  hex(chars: number): string {
    return Array.from({ length: chars }, () => this.below(16).toString(16)).join('');
  }
}

const LINES = {
  access(dice: Dice, n: number): string {
    const time = new Date(START + n * 137).toISOString();
    const address = `10.${dice.below(4)}.${dice.below(256)}.${dice.below(256)}`;
    const path = `${dice.of('/api/users/', '/api/orders/', '/static/app.js?v=', '/health?n=')}${dice.below(1e6)}`;
    const status = dice.of(200, 200, 200, 200, 304, 404, 500);
    const agent = `Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/${100 + dice.below(40)}.0 Safari/537.36`;
    return `${address} - - [${time}] "${dice.of('GET', 'GET', 'POST')} ${path} HTTP/1.1" ${status} ${dice.below(50_000)} "-" "${agent}"\n`;
  },
  json(dice: Dice, n: number): string {
    const line = {
      time: new Date(START + n * 137).toISOString(),
      level: dice.of('info', 'info', 'debug', 'warn'),
      msg: dice.of('request completed', 'cache miss', 'job finished', 'connection reset by peer'),
      requestId: dice.hex(16),
      durationMs: dice.below(9000) / 10,
      path: dice.of('/v1/cart', '/v1/items', '/v1/login'),
      userId: dice.below(100_000),
    };
    return `${JSON.stringify(line)}\n`;
  },
};

/** A line behind the header that Docker puts before what comes from a container without a terminal. */
function framed(line: string): Buffer {
  const text = Buffer.from(line);
  const head = Buffer.alloc(DOCKER_HEAD_BYTES);
  head[0] = 1;
  head.writeUInt32BE(text.byteLength, 4);
  return Buffer.concat([head, text]);
}

/** Some MiB of a sample, to be sent again and again. */
export function logSample(name: SampleName): LogSample {
  if (name === 'noise') {
    const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16));
    return { bytes: cipher.update(Buffer.alloc(SAMPLE_BYTES)), lines: 0 };
  }
  const dice = new Dice();
  const parts: Buffer[] = [];
  for (let bytes = 0; bytes < SAMPLE_BYTES; bytes += parts.at(-1)?.byteLength ?? 0) {
    parts.push(framed(LINES[name](dice, parts.length)));
  }
  return { bytes: Buffer.concat(parts), lines: parts.length };
}
