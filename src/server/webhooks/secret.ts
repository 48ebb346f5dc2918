import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

/**
 * HMAC needs the secret itself, so a hash of it can't be stored. It is stored encrypted (AES-256-GCM) with a
 * key derived from the server's secret. A copy of the table alone is not enough to sign, and a ciphertext that
 * is copied into another row can't be decrypted, because the row's id is authenticated with it.
 */
export function mintSigningSecret(): string {
  return `whsec_${randomBytes(32).toString("base64")}`;
}

/** Encrypts a text for one place, which is authenticated with it: for a signing secret, the id of its endpoint. */
export function seal(serverSecret: string, place: string, secret: string): Buffer<ArrayBuffer> {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", keyOf(serverSecret), nonce).setAAD(Buffer.from(place));
  const text = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), text]) as Buffer<ArrayBuffer>;
}

/** Decrypts; null when the text was encrypted with another server's secret, or for another place. */
export function unseal(serverSecret: string, place: string, sealed: Uint8Array): string | null {
  try {
    const decipher = createDecipheriv("aes-256-gcm", keyOf(serverSecret), sealed.subarray(0, NONCE_BYTES))
      .setAAD(Buffer.from(place))
      .setAuthTag(sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString("utf8");
  } catch {
    return null;
  }
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

let last: { secret: string; key: Buffer } | undefined;
function keyOf(serverSecret: string): Buffer {
  if (last?.secret !== serverSecret)
    last = { secret: serverSecret, key: Buffer.from(hkdfSync("sha256", serverSecret, "", "quota webhook secrets", 32)) };
  return last.key;
}
