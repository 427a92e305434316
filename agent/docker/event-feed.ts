/** This host's events: collected while there is no session, too. */
import { EventFeed, type EventFeedOptions } from '../../shared/docker/event-feed.ts';
import type { DockerEngine } from './engine.ts';

/** Each engine has its one feed, which outlasts sessions. */
const feeds = new WeakMap<DockerEngine, EventFeed>();

export function feedOf(docker: DockerEngine, log: EventFeedOptions['log']): EventFeed {
  let feed = feeds.get(docker);
  if (feed === undefined) {
    feed = new EventFeed({ docker, log });
    feeds.set(docker, feed);
  }
  return feed;
}
