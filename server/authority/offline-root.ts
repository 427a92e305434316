/** The server's part in having its root offline: it asks for an intermediate, and takes in what the root has signed. */
import { createPrivateKey, createPublicKey, type X509Certificate } from 'node:crypto';
import { CA_KEY_BITS } from '../../certs/authority.ts';
import { endorses, isEndorsement } from '../../certs/endorsement.ts';
import { caName, checkIntermediate, createCaRequest } from '../../certs/intermediate.ts';
import { generateRsa, privateKeyPem } from '../../certs/native.ts';
import { readCertificate } from '../../certs/pem.ts';
import { pinOfSpki, spkiOf } from '../../certs/pin.ts';
import { isRoot, readBundle } from '../../certs/trust.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Authority } from './authority.ts';
import { type CaEntry, MAX_CA_PEM_CHARS } from './ca-record.ts';
import { renewIntermediate, requirePhase } from './phases.ts';
import type { Actor, Rotation } from './rotation.ts';

export interface OfflineRootDeps {
  readonly authority: Authority;
  readonly rotation: Rotation;
  readonly clock: Clock;
  /** The size of an intermediate's key, for tests; 4096 otherwise. */
  readonly caKeyBits?: number | undefined;
}

/** What an import led to. */
export type Imported = 'published' | 'renewed';

export class OfflineRoot {
  readonly #deps: OfflineRootDeps;

  constructor(deps: OfflineRootDeps) {
    this.#deps = deps;
  }

  /**
   * Makes the key of an intermediate and the request for it; the same request again while it was not answered.
   * @returns the request in PEM
   * @throws FairleadError CONFLICT during a rotation
   */
  async request(actor: Actor): Promise<string> {
    const { authority, caKeyBits } = this.#deps;
    return await authority.exclusively(async () => {
      const { record } = authority.state;
      requirePhase(record, 'stable');
      if (record.request !== undefined) return record.request.csr;
      const { privateKey } = await generateRsa(caKeyBits ?? CA_KEY_BITS);
      const csr = await createCaRequest(privateKey, record.installationId);
      const sealedKey = await authority.seal.seal(privateKeyPem(privateKey));
      await authority.change({ ...record, request: { csr, sealedKey } }, entry('ca.request', actor, {}));
      return csr;
    });
  }

  /**
   * Takes in what `fairlead ca sign` made of the request: below the same root the intermediate is renewed at once, below
   * another one that root is published as the next.
   * @param bundle root, intermediate and, if the current root is offline, its endorsement of the new one, in PEM
   * @throws FairleadError VALIDATION that says what is wrong with it, CONFLICT if it is not the time for it
   */
  async import(bundle: string, actor: Actor): Promise<Imported> {
    const { authority, rotation, clock } = this.#deps;
    return await authority.exclusively(async () => {
      const { record, current } = authority.state;
      requirePhase(record, 'stable');
      const { request } = record;
      if (request === undefined) {
        throw new FairleadError(
          'CONFLICT',
          'there is no request that this could answer: make one with "fairlead ca request"',
        );
      }
      const keyPem = await authority.seal.unseal(request.sealedKey);
      const signed = readSigned(bundle, { keyPem, installationId: record.installationId, now: clock.now() });
      const next = signedEntry(signed, request.sealedKey);
      if (pinOf(signed.root) === current.fingerprint) {
        const { name, address } = actor;
        const detail = { notAfter: signed.intermediate.validToDate.toISOString() };
        const renewed = renewIntermediate(record, next, clock.now());
        await authority.change(renewed, { actor: name, address, action: 'ca.renew-intermediate', detail });
        return 'renewed';
      }
      const endorsement = current.isIntermediate ? this.#endorsement(signed) : undefined;
      await rotation.publishEntry(next, endorsement, 'ca.import', actor);
      return 'published';
    });
  }

  /** The word of the current root, whose key is elsewhere, for the new one. @throws FairleadError VALIDATION */
  #endorsement({ root, endorsements }: Signed): string {
    const { authority, clock } = this.#deps;
    const by = readCertificate(authority.caPem);
    const found = endorsements.find((one) => endorses(one, { by, root, now: clock.now() }));
    if (found !== undefined) return pemOf(found);
    throw wrong('the current root is offline and has not endorsed the new one: let it "fairlead ca endorse" this file');
  }
}

/** What a root has signed for this installation. */
export interface Signed {
  readonly root: X509Certificate;
  readonly intermediate: X509Certificate;
  readonly endorsements: readonly X509Certificate[];
}

/**
 * What stands in `bundle`, which answers the request whose key is `own.keyPem`.
 * @throws FairleadError VALIDATION that says what is wrong
 */
export function readSigned(bundle: string, own: { keyPem: string; installationId: string; now: number }): Signed {
  const certificates = readBundle(bundle);
  const roots = certificates.filter(isRoot);
  const endorsements = certificates.filter(isEndorsement);
  const rest = certificates.filter((one) => !roots.includes(one) && !endorsements.includes(one));
  const [root, secondRoot] = roots;
  const [intermediate, secondIntermediate] = rest;
  if (
    root === undefined ||
    intermediate === undefined ||
    secondRoot !== undefined ||
    secondIntermediate !== undefined
  ) {
    throw wrong('this is not one root and one intermediate, as "fairlead ca sign" writes them');
  }
  if (!spkiOf(intermediate.publicKey).equals(spkiOf(createPublicKey(createPrivateKey(own.keyPem))))) {
    throw wrong('the intermediate is not for the key of the last "fairlead ca request"');
  }
  if (!intermediate.subject.endsWith(`CN=${caName(own.installationId)}`)) {
    throw wrong('the intermediate names another installation');
  }
  checkIntermediate(root, intermediate, own.now);
  if ([root, intermediate, ...endorsements].some((one) => pemOf(one).length > MAX_CA_PEM_CHARS)) {
    throw wrong('a certificate in it is too large');
  }
  return { root, intermediate, endorsements };
}

/** The CA as it is stored then. @param sealedKey that of the request */
export function signedEntry({ root, intermediate }: Signed, sealedKey: string): CaEntry {
  return { root: pemOf(root), intermediate: pemOf(intermediate), sealedKey };
}

function pemOf(certificate: X509Certificate): string {
  return certificate.toString();
}

/** The pin of a certificate's key. */
export function pinOf(certificate: X509Certificate): string {
  return pinOfSpki(spkiOf(certificate.publicKey));
}

function entry(action: string, { name, address }: Actor, detail: Record<string, unknown>) {
  return { actor: name, address, action, detail };
}

function wrong(why: string): FairleadError {
  return new FairleadError('VALIDATION', why);
}
