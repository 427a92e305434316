/** The revisions of stacks as they are kept: with their variables sealed, and not more of them than there is room for. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import type { StackChange, StackEnv } from '../../shared/messages/stack.ts';
import type { Secrets } from '../authority/secrets.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { RevisionAction, RevisionRow, StackKey } from '../store/stack-revisions.ts';
import type { Store } from '../store/store.ts';
import { unifiedDiff } from './diff.ts';

/** Revisions that are kept of each stack, and how many bytes of them. The current one is, whatever comes after it. */
export const MAX_REVISIONS = 50;
const MAX_REVISION_BYTES = 8 * 1024 * 1024;
/** Stacks of one host that are managed. */
const MAX_STACKS = 200;
/** Room for what Compose says of a failure. */
const MAX_DETAIL_CHARS = 1_000;

/** What a stack is made of. */
export interface StackContent {
  readonly compose: string;
  readonly env: StackEnv;
}

export interface RevisionsOptions {
  readonly store: Pick<Store, 'stackRevisions' | 'transaction'>;
  /** Seals what variables stand for. */
  readonly secrets: Secrets;
  readonly clock: Clock;
}

export class Revisions {
  readonly #options: RevisionsOptions;

  constructor(options: RevisionsOptions) {
    this.#options = options;
  }

  /** Begins a revision. @throws FairleadError CONFLICT if the host has too many stacks, STORE_FULL, STORE_UNAVAILABLE */
  async begin(
    key: StackKey,
    { compose, env }: StackContent,
    about: { readonly action: RevisionAction; readonly source?: number | undefined; readonly by: string },
  ): Promise<RevisionRow> {
    const { store, secrets, clock } = this.#options;
    const id = randomUUID();
    const envNames = Object.keys(env);
    const sealed = envNames.length === 0 ? undefined : await secrets.seal(JSON.stringify(env), contextOf(id));
    const size = Buffer.byteLength(compose) + (sealed?.length ?? 0);
    const { action, source, by: createdBy } = about;
    const row = { ...key, id, action, source, envNames, size, createdBy, createdAt: clock.now() };
    const number = await store.transaction(async ({ stackRevisions }) => {
      const rows = await stackRevisions.all(key);
      if (rows.length === 0 && (await stackRevisions.countStacks(key.hostId)) >= MAX_STACKS) {
        throw new FairleadError('CONFLICT', `this host has ${MAX_STACKS} stacks already: remove one of them first`);
      }
      await stackRevisions.delete(key, surplus(rows, size));
      return await stackRevisions.insert({ ...row, compose, env: sealed });
    });
    return { ...row, number, state: 'deploying', finishedAt: undefined, code: undefined, detail: undefined };
  }

  /** Takes a revision back of which its host has not begun anything. */
  async withdraw(revision: RevisionRow): Promise<void> {
    await this.#options.store.stackRevisions.delete(revision, [revision.number]);
  }

  /** Writes down how a revision ended. @param error undefined: it is deployed */
  async finish(revision: RevisionRow, error?: unknown): Promise<RevisionRow> {
    const { store, clock } = this.#options;
    const { code, message } = error === undefined ? {} : toWireError(error);
    const state = error === undefined ? 'deployed' : isUnknown(error) ? 'interrupted' : 'failed';
    const end = { state, at: clock.now(), code, detail: message?.slice(0, MAX_DETAIL_CHARS) } as const;
    await store.stackRevisions.finish(revision.id, end);
    return { ...revision, state, finishedAt: end.at, code: end.code, detail: end.detail };
  }

  /** Settles the newest revision by what its host remembers, if nobody knew how it ended. */
  async settle(key: StackKey, change: StackChange): Promise<void> {
    const { store, clock } = this.#options;
    const revision = await store.stackRevisions.newest(key, ['interrupted']);
    if (revision?.id !== change.id || change.state === 'running') return;
    const { code, message } = change;
    const end =
      change.state === 'done'
        ? ({ state: 'deployed' } as const)
        : ({ state: 'failed', code, detail: message?.slice(0, MAX_DETAIL_CHARS) } as const);
    await store.stackRevisions.finish(revision.id, { ...end, at: clock.now() });
  }

  /** What the server that was killed had going is in a state that nobody knows. */
  async interruptAll(): Promise<number> {
    return await this.#options.store.stackRevisions.interruptAll(this.#options.clock.now());
  }

  /** The one that the stack was last made to be, or else the newest one; undefined: the stack is not managed. */
  async current(key: StackKey): Promise<RevisionRow | undefined> {
    const { stackRevisions } = this.#options.store;
    return (
      (await stackRevisions.newest(key, ['deployed'])) ??
      (await stackRevisions.newest(key, ['deploying', 'failed', 'interrupted']))
    );
  }

  /** @throws FairleadError NOT_FOUND */
  async find(key: StackKey, number: number): Promise<RevisionRow & { readonly compose: string }> {
    const { env: _env, ...revision } = await this.#find(key, number);
    return revision;
  }

  /** What a revision is made of, its variables included. @throws FairleadError NOT_FOUND */
  async content(key: StackKey, number: number): Promise<StackContent> {
    const { id, compose, env } = await this.#find(key, number);
    if (env === undefined) return { compose, env: {} };
    return { compose, env: JSON.parse(await this.#options.secrets.open(env, contextOf(id))) as StackEnv };
  }

  /** Newest first. @throws FairleadError NOT_FOUND if there is none, VALIDATION */
  async list(key: StackKey, page: PageRequest): Promise<Page<RevisionRow>> {
    const found = await this.#options.store.stackRevisions.list(key, page);
    if (found.items.length === 0 && page.cursor === undefined) throw noRevisions(key);
    return found;
  }

  /** The newest, and the newest deployed, revision of each stack of a host. */
  async latest(hostId: string): Promise<RevisionRow[]> {
    return await this.#options.store.stackRevisions.latest(hostId);
  }

  /** What changed from one revision to another. Of variables it says which, and never to what. @throws FairleadError NOT_FOUND */
  async diff(key: StackKey, from: number, to: number): Promise<string> {
    const [before, after] = await Promise.all([this.content(key, from), this.content(key, to)]);
    const names = (what: string) => [`revision ${from}${what}`, `revision ${to}${what}`] as const;
    const variables = (env: StackEnv, isNew: (name: string) => boolean) =>
      Object.keys(env)
        .sort()
        .map((name) => `${name}=[redacted]${isNew(name) ? ' (another value)' : ''}\n`)
        .join('');
    const hasChanged = (name: string) => Object.hasOwn(before.env, name) && before.env[name] !== after.env[name];
    return (
      unifiedDiff(before.compose, after.compose, names('')) +
      unifiedDiff(
        variables(before.env, () => false),
        variables(after.env, hasChanged),
        names(', variables'),
      )
    );
  }

  async remove(key: StackKey): Promise<void> {
    await this.#options.store.stackRevisions.deleteStack(key);
  }

  async #find(key: StackKey, number: number) {
    const revision = await this.#options.store.stackRevisions.find(key, number);
    if (revision !== undefined) return revision;
    if ((await this.current(key)) === undefined) throw noRevisions(key);
    throw new FairleadError('NOT_FOUND', `the stack ${key.stack} has no revision ${number}, or has it no longer`);
  }
}

export function noRevisions({ stack }: StackKey): FairleadError {
  return new FairleadError('NOT_FOUND', `there is no stack ${stack} that was deployed by Fairlead on this host`);
}

/** What the variables of a revision are sealed as. */
function contextOf(id: string): string {
  return `stack revision ${id}`;
}

/** Whether an error says nothing of how the work ended. */
function isUnknown(error: unknown): boolean {
  return isFairleadError(error, 'STREAM_INTERRUPTED') || isFairleadError(error, 'SHUTDOWN');
}

/** The numbers of those, of all, newest first, that have to go so that one more has room. */
function surplus(rows: readonly RevisionRow[], size: number): number[] {
  const current = rows.find(({ state }) => state === 'deployed');
  let bytes = size;
  return rows.flatMap((row, index) => {
    bytes += row.size;
    const isKept = index < MAX_REVISIONS - 1 && bytes <= MAX_REVISION_BYTES;
    return isKept || row === current || row.state === 'deploying' ? [] : [row.number];
  });
}
