/**
 * Why an address can't be a redirect URI, or null when it can. The one rule of the
 * settings form and of the authorization server.
 * RFC 6749 §3.1.2: absolute, without a fragment. RFC 9700 §4.1.3 lets plain http
 * through only on the loopback interface, where nobody can listen in.
 */
export function redirectUriProblem(uri: string): string | null {
  const url = URL.parse(uri);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
  if (url === null || !/^https?:\/\//i.test(uri) || /[\u0000-\u001f\u007f\s]/.test(uri))
    return "write the whole address, such as https://acme.chat/callback.";
  if (uri.length > 2000) return "an address has at most 2,000 characters.";
  if (uri.includes("#")) return "a redirect URI has no # part.";
  if (url.username !== "" || url.password !== "") return "a redirect URI has no user name or password.";
  if (url.protocol === "http:" && !LOOPBACK.has(url.hostname)) return "http works only on localhost; use https.";
  return null;
}

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);
