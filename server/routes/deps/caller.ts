/** Who asks, and how the routes learn that they may no longer. */
import type { Role } from '../../../shared/messages/kind.ts';
import type { HostScope } from '../../access/scope.ts';
import type { Maybe, Time } from './rows.ts';

/** Who asks for a change, for the audit log. */
export interface Actor {
  name: string;
  address?: string;
}

/** Who asks: whom an API token, an operator's certificate or a session stands for. */
export interface Principal {
  /** The token's id, `cert:SERIAL` or `login:ID`. */
  readonly tokenId: string;
  readonly name: string;
  readonly role: Role;
  /** Which hosts it may see and act on; undefined: all. */
  readonly scope?: HostScope | undefined;
  /** In a request about one host, by whoever has a scope: that host's id. Its streams end when the host leaves the scope. */
  readonly hostId?: string;
  /** Streams of the token end at that time. */
  readonly expiresAt?: Maybe<Time>;
}

/** What ends by itself or by an administrator while it holds streams open. */
export interface Revocable {
  /**
   * Calls `listener` with a principal's token id in the turn in which it is revoked, or in which it is settled that it ends
   * at `endsAt` (ms since 1970), sooner than it was to. @returns a function that stops it.
   */
  onRevoked(listener: (tokenId: string, endsAt?: number) => void): () => void;
}
