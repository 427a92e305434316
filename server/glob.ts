/** Patterns with `*` for any characters and `?` for one. */

/** Whether all of `text` fits `pattern`, in time that grows with the product of their lengths at most. */
export function matchesGlob(pattern: string, text: string): boolean {
  let [p, t] = [0, 0];
  // Where the last star stands, and how far into the text it has been let reach.
  let [star, reached] = [-1, 0];
  while (t < text.length) {
    if (pattern[p] === '*') {
      [star, reached] = [p, t];
      p++;
    } else if (pattern[p] === '?' || pattern[p] === text[t]) {
      p++;
      t++;
    } else if (star !== -1) {
      reached++;
      [p, t] = [star + 1, reached];
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
