/** Files and directories that only their owner may read. */
import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, statSync } from 'node:fs';

const OTHERS = 0o077;
const STICKY = 0o1000;

/**
 * Makes `directory` (mode 0700). One that exists is closed to others if it is empty or holds `marker`: a directory that
 * was there for other purposes, /tmp at worst, keeps its mode.
 */
export function createPrivateDirectory(directory: string, marker: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { mode } = statSync(directory);
  if ((mode & OTHERS) === 0 || (mode & STICKY) !== 0) return;
  const entries = readdirSync(directory);
  if (entries.length === 0 || entries.includes(marker)) chmodSync(directory, 0o700);
}

/** Makes an empty file of mode 0600, or closes the one that exists to others. */
export function createPrivateFile(file: string): void {
  closeSync(openSync(file, 'a', 0o600));
  if ((statSync(file).mode & OTHERS) !== 0) chmodSync(file, 0o600);
}
