/**
 * Signed cookies: a text, its expiry, and an HMAC over both, the cookie's purpose and the app's
 * client id. A value for another purpose or another app is refused.
 */

const encoder = new TextEncoder();

/** @internal */
export type Signer = { secret: string; clientId: string };

/** @internal `text.expiry.mac`, with the text percent-encoded. */
export async function sign(signer: Signer, purpose: string, text: string, maxAgeSeconds: number): Promise<string> {
  const value = `${encodeURIComponent(text)}.${Math.floor(Date.now() / 1000) + maxAgeSeconds}`;
  const mac = await crypto.subtle.sign("HMAC", await keyOf(signer, "sign"), content(signer, purpose, value));
  return `${value}.${toText(new Uint8Array(mac))}`;
}

/** @internal The text; null when the signature is wrong, the value has expired, or was signed for another purpose. */
export async function open(signer: Signer, purpose: string, cookie: string | undefined): Promise<string | null> {
  const [, value, text, end, mac] = /^((.*)\.(\d{1,12}))\.([A-Za-z0-9_-]{43})$/s.exec(cookie ?? "") ?? [];
  if (value === undefined || text === undefined || mac === undefined || Number(end) * 1000 < Date.now()) return null;
  const good = await crypto.subtle.verify("HMAC", await keyOf(signer, "verify"), fromText(mac), content(signer, purpose, value));
  if (!good) return null;
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function keyOf({ secret }: Signer, use: "sign" | "verify"): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [use]);
}

function content({ clientId }: Signer, purpose: string, value: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify(["quota-cookie", purpose, clientId, value]));
}

/** @internal base64url. */
export function toText(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** @internal */
export function fromText(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}

/** @internal The cookies of a request. Of several with one name the first counts, because browsers send the most specific path first. */
export function cookiesOf(request: Request): Map<string, string> {
  const cookies = new Map<string, string>();
  for (const pair of (request.headers.get("cookie") ?? "").split(";")) {
    const at = pair.indexOf("=");
    const name = pair.slice(0, at).trim();
    if (at > 0 && !cookies.has(name)) cookies.set(name, pair.slice(at + 1).trim());
  }
  return cookies;
}

/** @internal A Set-Cookie line: HttpOnly, and SameSite=Lax, so that other sites' POST requests do not carry it. */
export function setCookie(name: string, value: string, options: { maxAgeSeconds: number; secure: boolean; path: string }): string {
  return `${name}=${value}; Path=${options.path}; Max-Age=${options.maxAgeSeconds}; HttpOnly; SameSite=Lax${options.secure ? "; Secure" : ""}`;
}
