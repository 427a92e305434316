/** Validation of values against TypeBox schemas, with errors a person can act on. */
import type { Static, TSchema } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import { type ErrorCode, FairleadError } from './errors.ts';

const compiled = new WeakMap<TSchema, Validator>();

function validatorOf(schema: TSchema): Validator {
  let validator = compiled.get(schema);
  if (validator === undefined) {
    validator = Compile(schema) as Validator;
    compiled.set(schema, validator);
  }
  return validator;
}

/** Whether `value` fits `schema`. Compiles the schema on first use and keeps the result. */
export function fits<S extends TSchema>(schema: S, value: unknown): value is Static<S> {
  return validatorOf(schema).Check(value);
}

/**
 * Returns `value` typed by `schema`.
 * @throws FairleadError with `code` that names the first field that does not fit, and never its value.
 */
export function validate<S extends TSchema>(
  schema: S,
  value: unknown,
  what: string,
  code: ErrorCode = 'VALIDATION',
): Static<S> {
  const validator = validatorOf(schema);
  if (validator.Check(value)) return value as Static<S>;
  const first = validator.Errors(value)[0];
  const where = first?.instancePath ? ` at ${first.instancePath}` : '';
  throw new FairleadError(code, `${what} is not valid${where}: ${first?.message ?? 'it does not fit its schema'}`);
}
