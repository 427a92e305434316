/**
 * Presets: what the owner of a host most often wants to allow, by one word. Made from the classes of the catalogue, so that
 * a kind of a later version is in no more than its class says.
 */
import * as container from '../../shared/messages/container.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import * as stack from '../../shared/messages/stack.ts';

type Subject = Pick<StreamKind, 'name' | 'policy'>;

/** The life of containers that are there, by themselves or as stacks: nothing that makes or removes one, or runs a command in it. */
const LIFE: ReadonlySet<string> = new Set(
  [
    container.containerStart,
    container.containerStop,
    container.containerRestart,
    container.containerKill,
    container.containerPause,
    container.containerUnpause,
    stack.stackStart,
    stack.stackStop,
    stack.stackRestart,
  ].map(({ name }) => name),
);

const PRESETS: ReadonlyMap<string, (kind: Subject) => boolean> = new Map([
  ['read-only', ({ policy }: Subject) => policy === 'read'],
  ['operate', ({ name, policy }: Subject) => policy === 'read' || LIFE.has(name)],
  // What reaches beyond Docker must be named.
  ['full', ({ policy }: Subject) => policy !== 'connect'],
]);

/** Whether a policy's entry is a preset. */
export function isPreset(entry: string): boolean {
  return PRESETS.has(entry);
}

/** Whether `kind` is among what `preset` allows. */
export function presetHas(preset: string, kind: Subject): boolean {
  return PRESETS.get(preset)?.(kind) === true;
}
