import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

/**
 * An endpoint's secret signs, so it has to be known and not only recognised. It is
 * kept encrypted (AES-256-GCM) with a key made from the server's secret, bound to its
 * place: a copy of the table alone signs nothing, and moved elsewhere it can't be read.
 */
export function mintSigningSecret(): string {
  return `whsec_${randomBytes(32).toString("base64")}`;
}

/** Encrypts a text for one place: for a secret, the id of its endpoint. */
export function seal(serverSecret: string, place: string, secret: string): Buffer<ArrayBuffer> {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", keyOf(serverSecret), nonce).setAAD(Buffer.from(place));
  const text = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), text]) as Buffer<ArrayBuffer>;
}

/** The text again; null when it was sealed with another server's secret, or for another place. */
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
