/** Reads server-sent events from a stream of bytes, as the HTML standard has them. */
import { StringDecoder } from 'node:string_decoder';
import { CliError } from './errors.ts';

/** The longest event that is taken, in characters. */
const MAX_EVENT_CHARS = 1024 * 1024;

export interface ServerSentEvent {
  /** The last id that was named, by this one or before; undefined if none was. */
  readonly id: string | undefined;
  readonly type: string;
  /** Undefined: it has none, and only tells of the id or that the server is there. */
  readonly data: string | undefined;
}

/** @throws CliError for an event without end; what the source fails with */
export async function* serverSentEvents(source: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  let id: string | undefined;
  for await (const chunk of source) {
    const blocks = (rest + decoder.write(Buffer.from(chunk))).split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? '';
    if (rest.length > MAX_EVENT_CHARS) throw new CliError('the server sent an event without end');
    for (const block of blocks) {
      const event = parse(block, id);
      ({ id } = event);
      yield event;
    }
  }
}

function parse(block: string, before: string | undefined): ServerSentEvent {
  let id = before;
  let type = 'message';
  const data: string[] = [];
  for (const line of block.split(/\r?\n/)) {
    const [, name, value = ''] = /^([^:]+)(?:: ?(.*))?$/.exec(line) ?? [];
    if (name === 'id') id = value;
    else if (name === 'event') type = value;
    else if (name === 'data') data.push(value);
  }
  return { id, type, data: data.length === 0 ? undefined : data.join('\n') };
}
