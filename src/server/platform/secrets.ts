import { hash as digest, randomBytes, timingSafeEqual } from "node:crypto";

/**
 * Secrets are born once: `secret` is shown to its owner and forgotten here, only
 * `hash` is stored. SHA-256 without salt is enough, because nobody can guess 190
 * random bits.
 */
export type Minted = { secret: string; hash: Buffer<ArrayBuffer>; fragment: string };

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export function mintSecret(prefix: "sk-quota-" | "quota_secret_"): Minted {
  const secret = prefix + randomBase62(32);
  return { secret, hash: hashSecret(secret), fragment: `${prefix}…${secret.slice(-4)}` };
}

/** A public handle, safe to log: `quota_client_…`. */
export function mintClientId(): string {
  return `quota_client_${randomBase62(20)}`;
}

export function hashSecret(secret: string): Buffer<ArrayBuffer> {
  return digest("sha256", secret, "buffer") as Buffer<ArrayBuffer>;
}

export function secretMatches(secret: string, hash: Uint8Array): boolean {
  const given = hashSecret(secret);
  return given.length === hash.length && timingSafeEqual(given, hash);
}

/** Whether a secret is one of several. All are compared, so that the time tells nothing of which. */
export function secretMatchesOneOf(secret: string, hashes: readonly Uint8Array[]): boolean {
  return hashes.map((hash) => secretMatches(secret, hash)).includes(true);
}

/** Every character equally likely: bytes above the last multiple of 62 are drawn again. */
function randomBase62(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < 248 && text.length < length) text += BASE62[byte % 62];
    }
  }
  return text;
}
