/** The log of events over a real store, with hosts in it. */
import { EventLog } from '../../../../server/events/event-log.ts';
import { HostDirectory } from '../../../../server/events/host-directory.ts';
import type { NewEvent } from '../../../../server/store/events.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import type { Clock } from '../../../../shared/clock.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type Cleanup, defer, tempDir } from '../../../support/tmp.ts';
import { aHost, HOST_IDS } from '../store/fixture.ts';

export const [LAB, SHOP] = HOST_IDS;

export interface Opened {
  readonly store: Store;
  readonly clock: FakeClock;
  readonly eventLog: EventLog;
  readonly directory: HostDirectory;
  /** Changes a host's tags as the service does. */
  retag(hostId: string, tags: string[]): Promise<void>;
}

/** Two hosts: `lab` with the tag lab, `shop` with the tag shop. Writes at once, since the clock stands. */
export async function openEvents(cleanup: Cleanup): Promise<Opened> {
  const clock = new FakeClock();
  const store = await openStore({ dataDir: `${await tempDir(cleanup, 'events')}/data`, clock });
  defer(cleanup, () => store.close());
  await store.hosts.insert({ ...aHost(LAB, 'lab'), tags: ['lab'] });
  await store.hosts.insert({ ...aHost(SHOP, 'shop'), tags: ['shop'] });
  const listeners = new Set<(hostId: string) => void>();
  const hosts = {
    onScopeChange: (listener: (hostId: string) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const directory = new HostDirectory({ store, hosts });
  const retag = async (hostId: string, tags: string[]) => {
    await store.hosts.update(hostId, { tags });
    for (const listener of listeners) listener(hostId);
  };
  return { store, clock, directory, retag, eventLog: await openLog(store, clock) };
}

export async function openLog(store: Store, clock: Clock): Promise<EventLog> {
  return await EventLog.open({ store, clock });
}

export function anEvent(type: string, hostId: string = LAB, timeMicros = 1_000_000): NewEvent {
  const host = hostId === LAB ? 'lab' : 'shop';
  return { timeMicros, hostId, host, type, action: undefined, subject: 'c1', attributes: '{"name":"web"}' };
}

/** Adds events and waits until they are written, whatever the clock says. */
export async function add(eventLog: EventLog, ...events: NewEvent[]): Promise<void> {
  const added = eventLog.add(events);
  await eventLog.drain();
  for (const result of await added) if (result.status === 'rejected') throw result.reason;
}
