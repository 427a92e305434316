/**
 * Takes out of texts what is called a secret: a value in quotes, or without any. The text may be JSON, or JSON within a text of
 * JSON, and stays that. Linear in what it looks at.
 */
const NAME =
  /(?:password|passwd|passphrase|secret|token|api[_-]?key|credential|authorization)(\\{0,8}["'])?\s{0,8}[=:]\s{0,8}/gi;
const OPENED = /\\{0,16}"/y;
/** In single quotes, or what there is of it, up to where a text of JSON ends. */
const SINGLE = /'(?:[^'"\\\n]|\\+(?!["\\])|\\*"(?!\s*[,:}\]]))*'?/y;
/** Not with backslashes before a quote, which may be the quote's. */
const BARE = /(?:[^\s,;&"'{}[\]\\]|\\+(?!["'\\]))+/y;
/** What comes in JSON behind a text. */
const BEHIND_TEXT = /\s*(?:[,:}\]]|$)/y;
const LINE_END = /$/gm;

interface Value {
  /** Where it ends. */
  readonly end: number;
  readonly instead: string;
}

/** `text` with `[secret]` in the place of each value. */
export function hideNamedSecrets(text: string): string {
  const parts: string[] = [];
  let done = 0;
  NAME.lastIndex = 0;
  for (let name = NAME.exec(text); name !== null; name = NAME.exec(text)) {
    const at = NAME.lastIndex;
    const value = valueAt(text, at, name[1]);
    if (value === undefined) continue;
    parts.push(text.slice(done, at), value.instead);
    done = value.end;
    NAME.lastIndex = value.end;
  }
  return parts.join('') + text.slice(done);
}

/** @param nameEnd the quote behind the name */
function valueAt(text: string, at: number, nameEnd: string | undefined): Value | undefined {
  const opened = matchAt(OPENED, text, at);
  if (opened !== undefined) return quoted(text, at, opened, nameEnd);
  const single = matchAt(SINGLE, text, at);
  if (single !== undefined) return { end: at + single.length, instead: "'[secret]'" };
  const bare = matchAt(BARE, text, at);
  if (bare === undefined) return undefined;
  const quote = nameEnd?.endsWith('"') ? nameEnd : '';
  return { end: at + bare.length, instead: `${quote}[secret]${quote}` };
}

function quoted(text: string, at: number, opened: string, nameEnd: string | undefined): Value | undefined {
  const start = at + opened.length;
  // There is no value: it is the text around it that ends.
  if (nameEnd !== opened && matchAt(BEHIND_TEXT, text, start) !== undefined) return undefined;
  const depth = depthOf(opened.length - 1);
  const own = quoteOf(depth);
  const runs = /\\+"?|"/g;
  runs.lastIndex = start;
  for (let run = runs.exec(text); run !== null; run = runs.exec(text)) {
    if (!run[0].endsWith('"')) continue;
    const found = depthOf(run[0].length - 1);
    if (found > depth) continue;
    if (found === depth) return { end: runs.lastIndex, instead: `${own}[secret]${own}` };
    // A text around it ends before the value does.
    return { end: runs.lastIndex, instead: `${own}[secret]${quoteOf(found)}` };
  }
  LINE_END.lastIndex = start;
  return { end: LINE_END.exec(text)?.index ?? text.length, instead: `${own}[secret]` };
}

/**
 * In how many texts of JSON a quote stands that has `backslashes` before it. Each such text puts one before the quote and doubles
 * those that are there: 0, 1, 3, 7. Those before these are pairs, of whole backslashes.
 */
function depthOf(backslashes: number): number {
  let depth = 0;
  for (let rest = backslashes; rest % 2 === 1; rest = (rest - 1) / 2) depth++;
  return depth;
}

function quoteOf(depth: number): string {
  return `${'\\'.repeat(2 ** depth - 1)}"`;
}

function matchAt(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}
