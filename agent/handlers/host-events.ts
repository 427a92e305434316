/** Handler of host.events. */
import type { hostEvents } from '../../shared/messages/host-events.ts';
import { feedOf } from '../docker/event-feed.ts';
import type { Handler } from './handler.ts';

export const handleHostEvents: Handler<typeof hostEvents> = async (stream, { docker, log }) => {
  docker.requirePermitted({ method: 'GET', path: '/events' });
  stream.sendReply(await feedOf(docker, log).take(stream.params, stream.aborted));
  stream.finish();
};
