/** Handler of container.stats: Docker's samples, as they come. */
import { statsCall } from '../../shared/docker/container-calls.ts';
import { jsonLines } from '../../shared/docker/json.ts';
import type { containerStats } from '../../shared/messages/container.ts';
import type { Handler } from './handler.ts';

const MAX_SAMPLE_BYTES = 1024 * 1024;

export const handleStats: Handler<typeof containerStats> = async (stream, { docker }) => {
  const body = await docker.stream({ ...statsCall(stream.params), signal: stream.aborted });
  stream.sendReply({});
  for await (const sample of jsonLines(body, MAX_SAMPLE_BYTES)) await stream.sendItem(sample);
  stream.finish();
};
