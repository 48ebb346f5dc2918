import { hash as digest, randomBytes, timingSafeEqual } from "node:crypto";

/**
 * A new secret: `secret` is shown to its owner once and not stored, only `hash` is stored.
 * SHA-256 without salt is enough, because 190 random bits cannot be guessed.
 */
export type Minted = { secret: string; hash: Buffer<ArrayBuffer>; fragment: string };

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export function mintSecret(prefix: "sk-quota-" | "quota_secret_"): Minted {
  const secret = prefix + randomBase62(32);
  return { secret, hash: hashSecret(secret), fragment: `${prefix}…${secret.slice(-4)}` };
}

/** A public id, safe to log: `quota_client_…`. */
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

/** Whether a secret is one of several. All hashes are compared, so that the time does not tell which one matched. */
export function secretMatchesOneOf(secret: string, hashes: readonly Uint8Array[]): boolean {
  return hashes.map((hash) => secretMatches(secret, hash)).includes(true);
}

/** Every character is equally likely: bytes from 248 on, the last multiple of 62, are discarded. */
function randomBase62(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < 248 && text.length < length) text += BASE62[byte % 62];
    }
  }
  return text;
}
