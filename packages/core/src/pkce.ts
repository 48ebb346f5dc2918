/** A PKCE pair (RFC 7636, S256). */
export interface Pkce {
  /** Store it so that only this browser can send it back, such as in an HttpOnly cookie, and pass it to `exchangeCode`. */
  codeVerifier: string;
  /** A parameter of the authorization link. */
  codeChallenge: string;
}

/** Makes a PKCE pair. */
export async function createPkce(): Promise<Pkce> {
  const codeVerifier = randomText();
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(codeVerifier));
  return { codeVerifier, codeChallenge: base64url(new Uint8Array(digest)) };
}

/** 256 random bits as base64url text, for a `state` or an idempotency key. */
export function randomText(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
