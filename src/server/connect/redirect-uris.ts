import { hasUnseen } from "../platform/unseen.ts";

/**
 * Why an address can't be a redirect URI, as a sentence for the developer; null when it
 * can. The settings form and the authorization server both use this rule. Browsers can go
 * to every address that passes it from the consent page.
 *
 * RFC 6749 §3.1.2: absolute, without a fragment. RFC 9700 §4.1.3 allows plain http
 * only on the loopback interface, where traffic does not leave the machine. Requests
 * have to name the same text, with its port: RFC 8252 §7.3, which ignores the port on
 * the loopback interface, is for native apps, which are not supported.
 */
export function redirectUriProblem(uri: string): string | null {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
  if (/[\u0000-\u001f\u007f\s]/.test(uri) || hasUnseen(uri)) return "an address has only printable characters, and no spaces.";
  const scheme = /^([a-z][a-z0-9+.-]*):\//i.exec(uri)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== "https" && scheme !== "http")
    return "an app's own scheme does not work. Use https, which an app can claim for itself, or http on localhost.";
  const url = URL.parse(uri);
  if (url === null || !/^https?:\/\//i.test(uri)) return "write the whole address, such as https://acme.chat/callback.";
  // `href` is the address as it is sent, in which a character beyond ASCII takes up to twelve.
  if (uri.length > LONGEST || url.href.length > LONGEST) return "an address has at most 2,000 characters.";
  if (uri.includes("#")) return "a redirect URI has no # part.";
  if (url.username !== "" || url.password !== "") return "a redirect URI has no user name or password.";
  const { hostname } = url;
  if (hostname.includes("*")) return "* stands for nothing. List each address.";
  if (hostname.split(".").slice(0, -1).includes("")) return "the host has a dot too many.";
  if (BLOCKED_PORTS.has(Number(url.port || "443"))) return `browsers open nothing on port ${url.port}. Use another one.`;
  // A Content-Security-Policy can't name an IPv6 address, so the consent page could not lead there.
  if (url.protocol === "http:" && hostname === "[::1]") return "http works on localhost and 127.0.0.1, not on [::1].";
  if (url.protocol === "http:" && !LOOPBACK.has(hostname)) return "http works only on localhost; use https.";
  return null;
}

const LONGEST = 2000;
const LOOPBACK = new Set(["localhost", "127.0.0.1"]);

/** https://fetch.spec.whatwg.org/#port-blocking */
const BLOCKED_PORTS = new Set([
  0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115, 117,
  119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636,
  989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
]);
