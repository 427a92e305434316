/** Text as one word of a shell's command line, for lines that people paste: as it is where no shell makes anything of it. */
export function shellWord(text: string): string {
  return /^[\w:/.,@%+-]+$/.test(text) ? text : quoted(text);
}

/** In quotes, whatever it is. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
