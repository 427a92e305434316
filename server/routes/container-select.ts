/** Which containers are meant: by name, image, state and label, as Docker lists them. */
import Type, { type Static } from 'typebox';
import type { DockerObject } from '../../shared/messages/family.ts';
import { matchesGlob } from '../glob.ts';

const Pattern = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\x00-\\x1f\\x7f]+$' });
const patterns = (description: string) =>
  Type.Optional(Type.Array(Pattern, { minItems: 1, maxItems: 32, description }));

export const ContainerState = Type.Union([
  Type.Literal('created'),
  Type.Literal('running'),
  Type.Literal('paused'),
  Type.Literal('restarting'),
  Type.Literal('removing'),
  Type.Literal('exited'),
  Type.Literal('dead'),
]);
export type ContainerState = Static<typeof ContainerState>;

/** Each list by itself: one of its entries must fit, of labels all. */
export const CONTAINER_SELECT = {
  name: patterns('Of one of these names; * and ? stand for other characters'),
  image: patterns('Of one of these images, likewise'),
  state: Type.Optional(Type.Array(ContainerState, { minItems: 1, maxItems: 7, description: 'In one of these states' })),
  label: patterns('With all of these labels, each KEY or KEY=VALUE'),
};

export interface ContainerSelect {
  readonly name?: readonly string[];
  readonly image?: readonly string[];
  readonly state?: readonly ContainerState[];
  readonly label?: readonly string[];
}

/** Whether a container of Docker's list is one of those that are meant. */
export function isSelected(container: Static<typeof DockerObject>, select: ContainerSelect): boolean {
  const { name, image, state, label } = select;
  const { Image, State, Labels } = container;
  return (
    (name === undefined || isOneOf(name, namesOf(container))) &&
    (image === undefined || isOneOf(image, [Image])) &&
    (state === undefined || state.some((one) => one === State)) &&
    (label === undefined || label.every((one) => hasLabel(Labels, one)))
  );
}

/** Whether one of the patterns fits one of the texts. */
export function isOneOf(wanted: readonly string[], found: readonly unknown[]): boolean {
  return found.some((text) => typeof text === 'string' && wanted.some((pattern) => matchesGlob(pattern, text)));
}

/** A container's names, without the slash that Docker puts before them. */
export function namesOf({ Names }: Static<typeof DockerObject>): string[] {
  if (!Array.isArray(Names)) return [];
  return Names.filter((name) => typeof name === 'string').map((name) => name.replace(/^\//, ''));
}

function hasLabel(labels: unknown, wanted: string): boolean {
  if (typeof labels !== 'object' || labels === null) return false;
  const [key = '', ...value] = wanted.split('=');
  if (!Object.hasOwn(labels, key)) return false;
  return value.length === 0 || (labels as Record<string, unknown>)[key] === value.join('=');
}
