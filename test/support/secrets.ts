/** A register of the secrets of a run, and a search for them in whatever they must not be in, in every form that they take. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Something that may have a secret in it: a file, a log, an answer. */
export interface Evidence {
  readonly place: string;
  readonly content: Buffer;
}

export interface Leak {
  readonly secret: string;
  readonly form: string;
  readonly place: string;
}

/** Shorter ones would be found where they are not. */
const MIN_SECRET_BYTES = 8;
const MIN_FORM_CHARS = 11;

interface Form {
  readonly secret: string;
  readonly form: string;
  /** In latin1, as evidence is read. */
  readonly text: string;
}

export class Secrets {
  readonly #forms: Form[] = [];
  /** Where each may be, by its name. */
  readonly #homes = new Map<string, ReadonlySet<string>>();

  get names(): string[] {
    return [...this.#homes.keys()];
  }

  /** @param homes places, such as paths of files, in which it belongs */
  add(name: string, value: Buffer | string, homes: readonly string[] = []): void {
    const bytes = Buffer.from(value);
    if (bytes.length < MIN_SECRET_BYTES) throw new Error(`${name} is too short to be looked for`);
    this.#home(name, homes);
    this.#bytes(name, bytes);
    if (typeof value !== 'string') return;
    this.#form(name, 'URL-encoded', encodeURIComponent(value));
    this.#form(name, 'JSON', JSON.stringify(value).slice(1, -1));
  }

  /** A private key in PEM: its text line by line, and the numbers that make it private. */
  addKey(name: string, pem: string, homes: readonly string[] = []): void {
    this.#home(name, homes);
    const key = createPrivateKey(pem);
    const known = createPublicKey(key).export({ type: 'spki', format: 'der' });
    const lines = pem.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('-----'));
    // A line of nothing but the public half is in every certificate.
    for (const line of lines) if (!known.includes(Buffer.from(line, 'base64'))) this.#form(name, 'a line of PEM', line);
    const { d, p, q } = key.export({ format: 'jwk' });
    for (const number of [d, p, q]) if (number !== undefined) this.#bytes(name, Buffer.from(number, 'base64url'));
  }

  /** Every secret that is in `evidence` and does not belong there. */
  find(evidence: Iterable<Evidence>): Leak[] {
    const leaks: Leak[] = [];
    for (const { place, content } of evidence) {
      const text = content.toString('latin1');
      for (const { secret, form, text: sought } of this.#forms) {
        if (!this.#homes.get(secret)?.has(place) && text.includes(sought)) leaks.push({ secret, form, place });
      }
    }
    return leaks;
  }

  /** Places in which a secret was to be and is not: then the search would prove nothing. */
  missing(evidence: Iterable<Evidence>): string[] {
    const texts = new Map([...evidence].map(({ place, content }) => [place, content.toString('latin1')]));
    const missing: string[] = [];
    for (const [name, homes] of this.#homes) {
      const forms = this.#forms.filter(({ secret }) => secret === name);
      for (const home of homes) {
        const text = texts.get(home);
        if (text !== undefined && !forms.some((form) => text.includes(form.text))) missing.push(`${name} in ${home}`);
      }
    }
    return missing;
  }

  #home(name: string, homes: readonly string[]): void {
    if (this.#homes.has(name)) throw new Error(`two secrets are called ${name}`);
    this.#homes.set(name, new Set(homes));
  }

  #bytes(name: string, bytes: Buffer): void {
    this.#form(name, 'raw', bytes.toString('latin1'));
    this.#form(name, 'hex', bytes.toString('hex'));
    this.#form(name, 'hex', bytes.toString('hex').toUpperCase());
    for (const base64 of base64Forms(bytes)) {
      this.#form(name, 'base64', base64);
      this.#form(name, 'base64url', base64.replaceAll('+', '-').replaceAll('/', '_'));
      this.#form(name, 'URL-encoded base64', encodeURIComponent(base64));
    }
  }

  #form(secret: string, form: string, text: string): void {
    // The middle of a short secret in base64 is too little to go by.
    if (form.includes('base64') && text.length < MIN_FORM_CHARS) return;
    this.#forms.push({ secret, form, text });
  }
}

/** The characters that stand for `bytes` in any base64 text that has them in it, at each of the three places they may begin. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    const first = Math.ceil((8 * before) / 6);
    const last = Math.floor((8 * (before + bytes.length)) / 6);
    return text.slice(first, last);
  });
}

/** All files under `dir`, as they are now. */
export async function filesOf(dir: string): Promise<Evidence[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const read = paths.map(async (place) => ({ place, content: await readIfThere(place) }));
  return await Promise.all(read);
}

/** What everybody on the machine can see of a process (its arguments), and what its user can (its environment). */
export async function processOf(name: string, pid: number): Promise<Evidence[]> {
  return await Promise.all(
    ['cmdline', 'environ'].map(async (file) => ({
      place: `${file} of ${name}`,
      content: await readFile(`/proc/${pid}/${file}`),
    })),
  );
}

/** A file that a running program has removed meanwhile is empty. */
async function readIfThere(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}
