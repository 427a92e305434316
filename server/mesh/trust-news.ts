/** Tells agents which roots the server is trusted by, and takes in what they say to it. */
import { toWireError } from '../../shared/errors.ts';
import { type TrustAck, type TrustUpdate, trustUpdate } from '../../shared/messages/trust.ts';
import type { ControlContext } from './agent-control.ts';
import type { NativeLink } from './native-link.ts';

/** What sessions need of the server's trust. */
export interface TrustSource {
  /** What is trusted now. */
  current(): TrustUpdate;
  /** A host has stored what it was told. */
  acknowledged(hostId: string, ack: TrustAck): Promise<void>;
}

/** The version of the update that each session has not answered yet: an answer to anything else counts for nothing. */
const unanswered = new WeakMap<NativeLink, number>();

/** Tells an agent what is trusted now, if it is one that understands. */
export function sendTrust(link: NativeLink, source: TrustSource | undefined): void {
  // What is on trial beside a host's agent stores nothing.
  if (source === undefined || link.isTrial || !link.describe().capabilities.includes(trustUpdate.name)) return;
  const update = source.current();
  unanswered.set(link, update.version);
  link.session.sendControl(trustUpdate, update);
}

/** Takes in an agent's answer, once for each update. Never rejects. */
export async function takeTrustAck({ link, deps }: ControlContext, ack: TrustAck): Promise<void> {
  if (unanswered.get(link) !== ack.version) return;
  unanswered.delete(link);
  try {
    await deps.trust?.acknowledged(link.hostId, ack);
  } catch (error) {
    const { code } = toWireError(error);
    deps.log.warn({ err: error, hostId: link.hostId, code }, 'what a host trusts could not be stored');
  }
}
