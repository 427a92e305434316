/** How Fastify validates: our TypeBox validator for every part, with the texts of paths and queries turned into values. */
import type { FastifySchemaCompiler } from 'fastify';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { FairleadError } from '../../shared/errors.ts';

const PARTS: Readonly<Record<string, string>> = {
  body: 'the body',
  querystring: 'the query',
  params: 'the path',
  headers: 'the header',
};

const FLAGS: Readonly<Record<string, boolean>> = { '': true, '1': true, true: true, '0': false, false: false };

interface Property {
  type?: string;
}

/** The value that the text of a query stands for, by the property's type; what does not fit stays as it is and is refused. */
function fromText(value: unknown, type: string | undefined): unknown {
  if (type === 'array') return typeof value === 'string' ? [value] : value;
  if (typeof value !== 'string') return value;
  if (type === 'boolean') return FLAGS[value] ?? value;
  if (type === 'integer') return /^-?\d{1,15}$/.test(value) ? Number(value) : value;
  return value;
}

function convert(schema: TSchema, data: unknown): unknown {
  const { properties } = schema as { properties?: Record<string, Property> };
  if (properties === undefined || typeof data !== 'object' || data === null) return data;
  return Object.fromEntries(
    Object.entries(data).map(([name, value]) => [name, fromText(value, properties[name]?.type)]),
  );
}

/** Compiles the schema of one part of a request. Errors name the part and the field, never the value. */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const validator = Compile(schema);
  return (data: unknown) => {
    const value = httpPart === 'body' ? data : convert(schema, data);
    if (validator.Check(value)) return { value };
    const [first] = validator.Errors(value);
    const field = first?.instancePath.slice(1).replaceAll('/', '.');
    const where = `${PARTS[httpPart ?? ''] ?? 'the request'}${field ? ` at ${field}` : ''}`;
    return { error: new FairleadError('VALIDATION', `${where} is not valid: ${reason(first)}`) };
  };
};

interface Finding {
  keyword: string;
  message: string;
  params: unknown;
}

/** The validator's own words, and the names of what is missing or too much. */
function reason(finding: Finding | undefined): string {
  if (finding === undefined) return 'it does not fit its schema';
  if (finding.keyword === 'boolean') return 'there is no such field';
  const { requiredProperties } = finding.params as { requiredProperties?: string[] };
  if (requiredProperties !== undefined) return `${requiredProperties.join(', ')} must be given`;
  const { pattern } = finding.params as { pattern?: unknown };
  if (pattern !== undefined) return `it must match ${pattern instanceof RegExp ? pattern.source : String(pattern)}`;
  return finding.message;
}
