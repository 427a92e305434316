/** Docker's refusals in streamed answers, which have no status: they are told by what they look like. */

/** The longest refusal that is looked for, in characters. */
export const MAX_REFUSAL_CHARS = 4096;
const BEGINS = /^\s*\{\s*"message"\s*:/;

export interface Refusal {
  /** As Docker most likely said it. */
  readonly status: number;
}

/** Whether `text`, which may not be all of it, begins as a refusal does. */
export function mayBeRefusal(text: string): boolean {
  return BEGINS.test(text) || (text.length < 12 && '{"message":'.startsWith(text.trim()));
}

/** The refusal that a whole answer is, if it is one: an object with nothing but a message. */
export function refusalIn(text: string): Refusal | undefined {
  if (text.length > MAX_REFUSAL_CHARS || !BEGINS.test(text)) return undefined;
  try {
    const value = JSON.parse(text) as { message?: unknown };
    if (typeof value.message !== 'string' || Object.keys(value).length !== 1) return undefined;
    return { status: statusOf(value.message) };
  } catch {
    // It went on as something else.
    return undefined;
  }
}

function statusOf(message: string): number {
  if (/no such|not found|could not find/i.test(message)) return 404;
  if (/conflict|is not running|already|in use|is paused|being used|in progress/i.test(message)) return 409;
  if (/bad parameter|invalid|must |too new|too old/i.test(message)) return 400;
  return 500;
}
