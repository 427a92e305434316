/** Text of somebody else's for a terminal: names and messages come from the other side, which must not drive it. */

/** Everything below space, DEL and the C1 range: what could move the cursor or recolour the terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is its purpose
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;

/** `text` in one line, without control characters. */
export function printable(text: string): string {
  return text.replace(CONTROL, '�');
}

/** The same line by line. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** What JSON leaves in texts as it is: DEL and the C1 range. */
const LEFT_BY_JSON = /[\u007f-\u009f]/g;

/** JSON in one line, or indented, for programs or for a terminal: control characters are escaped in it. */
export function jsonLine(value: unknown, indent?: number): string {
  const json = JSON.stringify(value, undefined, indent);
  return `${json.replace(LEFT_BY_JSON, (char) => `\\u00${char.charCodeAt(0).toString(16)}`)}\n`;
}
