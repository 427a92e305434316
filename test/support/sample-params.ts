/** The least that fits a schema, made from the schema itself: parameters for kinds that a test knows nothing else of. */
import type { TSchema } from 'typebox';
import { fits } from '../../shared/validate.ts';

/** Texts of the sorts that parameters ask for; the first that fits is taken. */
const TEXTS = ['web', '/', 'GET', 'tcp', 'a:b', '0'.repeat(64), '00000000-0000-4000-8000-000000000000', 'services: {}'];

/** What JSON Schema says, as far as it is looked at here. */
interface Shape {
  readonly type?: string;
  readonly const?: unknown;
  readonly anyOf?: readonly TSchema[];
  readonly items?: TSchema | readonly TSchema[];
  readonly minItems?: number;
  readonly minimum?: number;
  readonly properties?: Readonly<Record<string, TSchema>>;
  readonly required?: readonly string[];
  readonly patternProperties?: Readonly<Record<string, TSchema>>;
  readonly minProperties?: number;
}

/** @throws Error if nothing that is known here fits */
export function sampleOf(schema: TSchema): unknown {
  const value = draft(schema as Shape, schema);
  if (!fits(schema, value)) throw new Error(`nothing fits ${JSON.stringify(schema)}: ${JSON.stringify(value)}`);
  return value;
}

function draft(shape: Shape, schema: TSchema): unknown {
  if ('const' in shape) return shape.const;
  const [first] = shape.anyOf ?? [];
  if (first !== undefined) return sampleOf(first);
  if (shape.type === 'object') {
    const { properties = {}, required = [], patternProperties = {}, minProperties = 0 } = shape;
    const [anyNamed] = Object.values(patternProperties);
    if (anyNamed !== undefined && minProperties > 0) return { web: sampleOf(anyNamed) };
    return Object.fromEntries(required.map((name) => [name, sampleOf(properties[name] ?? {})]));
  }
  if (shape.type === 'array') {
    const each = Array.isArray(shape.items) ? (shape.items as TSchema[]) : [shape.items as TSchema];
    const count = Array.isArray(shape.items) ? each.length : (shape.minItems ?? 0);
    return Array.from({ length: count }, (_, index) => sampleOf(each[index % each.length] ?? {}));
  }
  if (shape.type === 'integer' || shape.type === 'number') return Math.max(shape.minimum ?? 0, 0);
  if (shape.type === 'boolean') return false;
  return TEXTS.find((text) => fits(schema, text));
}
