/** A reference page made from an OpenAPI document: one file, without scripts and without anything from elsewhere. */

/** The parts of an OpenAPI document that the page shows. */
export interface OpenApiDocument {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, unknown> };
}

interface Operation {
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema?: unknown }[];
  requestBody?: { content?: Record<string, { schema?: unknown }> };
  responses?: Record<string, { description?: string; content?: Record<string, { schema?: unknown }> }>;
}

interface Entry {
  method: string;
  path: string;
  operation: Operation;
}

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #8886; text-transform: capitalize; }
h3 code { font-size: 1rem; } .method { font-weight: 700; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .2rem .6rem; vertical-align: top; border-bottom: 1px solid #8883; }
pre { overflow-x: auto; background: #8881; padding: .6rem; } summary { cursor: pointer; }
nav li { display: inline-block; margin-right: 1rem; text-transform: capitalize; }
`;

/** The page's HTML. */
export function referencePage(document: OpenApiDocument): string {
  const groups = byTag(document);
  const nav = [...groups.keys()].map((tag) => `<li><a href="#${escapeHtml(tag)}">${escapeHtml(tag)}</a></li>`).join('');
  const { title, version, description = '' } = document.info;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)} API ${escapeHtml(version)}</title><style>${STYLE}</style></head>
<body><h1>${escapeHtml(title)} API ${escapeHtml(version)}</h1><p>${escapeHtml(description)}</p>
<p>The same as a document for programs: <a href="/api/v1/openapi.json">openapi.json</a> (OpenAPI 3.1).
A token goes into the header <code>Authorization: Bearer TOKEN</code>.</p>
<nav><ul>${nav}</ul></nav>
${[...groups].map(([tag, entries]) => group(tag, entries)).join('\n')}
${schemas(document)}
</body></html>
`;
}

function byTag(document: OpenApiDocument): Map<string, Entry[]> {
  const groups = new Map<string, Entry[]>();
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? 'other';
      groups.set(tag, [...(groups.get(tag) ?? []), { method, path, operation }]);
    }
  }
  return groups;
}

function group(tag: string, entries: Entry[]): string {
  return `<section id="${escapeHtml(tag)}"><h2>${escapeHtml(tag)}</h2>${entries.map(entry).join('\n')}</section>`;
}

function entry({ method, path, operation }: Entry): string {
  const { summary = '', description = '' } = operation;
  return `<article><h3><code><span class="method">${escapeHtml(method.toUpperCase())}</span> ${escapeHtml(path)}</code></h3>
<p>${escapeHtml(summary)}</p><p>${escapeHtml(description)}</p>${parameters(operation)}${requestBody(operation)}${responses(operation)}</article>`;
}

function parameters({ parameters = [] }: Operation): string {
  if (parameters.length === 0) return '';
  const rows = parameters.map(
    ({ name, in: where, required, description, schema }) =>
      `<tr><td><code>${escapeHtml(name)}</code></td><td>${escapeHtml(where)}${required ? ', required' : ''}</td>` +
      `<td>${escapeHtml(description ?? '')}</td><td><code>${escapeHtml(JSON.stringify(schema ?? {}))}</code></td></tr>`,
  );
  return `<table><tr><th>Parameter</th><th>In</th><th></th><th>Schema</th></tr>${rows.join('')}</table>`;
}

function requestBody({ requestBody }: Operation): string {
  return Object.entries(requestBody?.content ?? {})
    .map(([type, { schema }]) => details(`Body: ${type}`, schema))
    .join('');
}

function responses({ responses = {} }: Operation): string {
  return Object.entries(responses)
    .filter(([status]) => !/^[45]XX$/i.test(status))
    .flatMap(([status, { content = {}, description = '' }]) => {
      const bodies = Object.entries(content);
      if (bodies.length === 0) return [`<p>${escapeHtml(status)} ${escapeHtml(description)}</p>`];
      return bodies.map(([type, { schema }]) => details(`${status}: ${type}`, schema));
    })
    .join('');
}

function schemas(document: OpenApiDocument): string {
  const all = Object.entries(document.components?.schemas ?? {});
  if (all.length === 0) return '';
  return `<section><h2>Errors and shared schemas</h2>${all.map(([name, schema]) => details(name, schema)).join('')}</section>`;
}

function details(title: string, schema: unknown): string {
  const text = JSON.stringify(schema ?? {}, null, 2);
  return `<details><summary>${escapeHtml(title)}</summary><pre>${escapeHtml(text)}</pre></details>`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}
