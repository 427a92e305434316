/** What the routes need of stacks. */

import type { Static } from 'typebox';
import type { DockerObject } from '../../../shared/messages/family.ts';
import type { StackChange, StackEnv, StackProgress } from '../../../shared/messages/stack.ts';
import type { HostLink } from '../../hosts/host-link.ts';
import type { Actor } from './caller.ts';
import type { Maybe, Page, Paged, Time } from './rows.ts';

export interface StackRevisionRecord {
  readonly stack: string;
  readonly number: number;
  readonly action: 'deploy' | 'redeploy' | 'rollback' | 'migrate';
  readonly source?: Maybe<number>;
  readonly envNames: readonly string[];
  readonly createdBy: string;
  readonly createdAt: Time;
  readonly state: 'deploying' | 'deployed' | 'failed' | 'interrupted';
  readonly finishedAt?: Maybe<Time>;
  readonly code?: Maybe<string>;
  readonly detail?: Maybe<string>;
}

export interface StackOnHost {
  readonly stack: string;
  readonly services: readonly string[];
  readonly containers: number;
  readonly running: number;
}

/** A change that the host has begun. */
export interface RunningStackChange<T> {
  readonly done: Promise<T>;
  /** Who stops reading it ends the change. */
  progress(): AsyncGenerator<StackProgress>;
  finish(): Promise<T>;
}

interface Target {
  readonly link: HostLink;
  readonly stack: string;
}

/** A stack that is being carried to another host. */
export interface RunningStackMigration {
  readonly id: string;
  readonly done: Promise<{
    readonly revision: number;
    readonly stack: string;
    readonly volumes: readonly string[];
    readonly images: readonly string[];
    readonly kept: boolean;
  }>;
  /** Who stops reading it ends nothing. */
  progress(signal: AbortSignal): AsyncGenerator<StackProgress>;
}

export interface StackMigrationsService {
  /** @param signal ends the check; what has begun goes on. @throws FairleadError CONFLICT with all that speaks against it */
  begin(
    ends: { readonly from: Target; readonly to: Target },
    options: { readonly keep: boolean },
    actor: Actor,
    signal: AbortSignal,
  ): Promise<RunningStackMigration>;
}

interface Key {
  readonly hostId: string;
  readonly stack: string;
}

export interface StackChangeOptions {
  readonly by: string;
  readonly signal: AbortSignal;
  readonly timeoutSeconds?: number | undefined;
  /** How long its turn at the host is waited for, in ms. */
  readonly turnMs?: number | undefined;
}

export interface StackDeployOptions extends StackChangeOptions {
  readonly pull?: boolean | undefined;
  readonly prune?: boolean | undefined;
}

type Deployed = Promise<RunningStackChange<StackRevisionRecord>>;
type Changed = Promise<RunningStackChange<void>>;

export interface StacksService {
  readonly revisions: {
    /** @throws FairleadError NOT_FOUND, VALIDATION */
    list(key: Key, page: Page): Promise<Paged<StackRevisionRecord>>;
    /** @throws FairleadError NOT_FOUND */
    find(key: Key, number: number): Promise<StackRevisionRecord & { readonly compose: string }>;
    /** @throws FairleadError NOT_FOUND */
    diff(key: Key, from: number, to: number): Promise<string>;
    /** Undefined for a stack that is not managed. */
    current(key: Key): Promise<StackRevisionRecord | undefined>;
    latest(hostId: string): Promise<readonly StackRevisionRecord[]>;
  };
  deploy(target: Target, content: { compose: string; env: StackEnv }, options: StackDeployOptions): Deployed;
  repeat(
    target: Target,
    which: { action: 'redeploy' | 'rollback'; number?: number | undefined },
    options: StackDeployOptions,
  ): Deployed;
  act(target: Target, verb: 'start' | 'stop' | 'restart', options: StackChangeOptions): Changed;
  pull(target: Target, options: StackChangeOptions): Changed;
  scale(target: Target, services: Record<string, number>, options: StackChangeOptions): Changed;
  remove(target: Target, what: { volumes: boolean }, options: StackChangeOptions): Changed;
  onHost(link: HostLink, signal: AbortSignal): Promise<readonly StackOnHost[]>;
  status(
    target: Target,
    signal: AbortSignal,
  ): Promise<{ readonly containers: readonly Static<typeof DockerObject>[]; readonly change: StackChange | undefined }>;
}
