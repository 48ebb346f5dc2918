import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

/**
 * Connecting a wallet and signing in set cookies, which a browser keeps for one host,
 * and both go on at QUOTA_URL. So they have to begin there.
 */

/** The address that a server is reached under, and whether somebody said so; without QUOTA_URL it is a guess. */
export type OwnAddress = { origin: string; told: boolean };

/**
 * Where a request has to go before anything begins: the same path and query at the own
 * address. null when it is there already, when it is not one of those that set cookies,
 * or when it came back though it was sent there: then something in front of the server
 * names another host than the browser asked for (`loop`).
 *
 * The target's origin is always the own one, so that a forged header leads nowhere else.
 */
export function moveTo(
  request: { method?: string | undefined; url?: string | undefined; headers: IncomingHttpHeaders },
  own: OwnAddress,
): { location: string; cookie: string } | "loop" | null {
  const { method, url = "/", headers } = request;
  if (method !== "GET" && method !== "HEAD") return null;
  if (!(own.told ? COOKIES_BEGIN : CONNECTING).test(url)) return null;
  const { host, protocol } = new URL(own.origin);
  const asked = URL.parse(`${protocol}//${headers.host ?? ""}`);
  if (asked === null || asked.host === host) return null;
  // A proxy may put its own name into Host, and the browser's into another header. Believing it does no harm: nobody is sent anywhere.
  if (otherHosts(headers).some((each) => URL.parse(`${protocol}//${each}`)?.host === host)) return null;
  // A container's port may be published under another number, and then localhost is somebody else.
  if (!own.told && !(LOOPBACK.has(asked.hostname) && asked.port === new URL(own.origin).port)) return null;
  const target = new URL(own.origin);
  const [path = "/", query] = url.split(/\?(.*)/s);
  target.pathname = path;
  target.search = query ?? "";
  const mark = `quota_moved=${createHash("sha256").update(url).digest("base64url").slice(0, 22)}`;
  if (headers.cookie?.split(/; */).includes(mark)) return "loop";
  return { location: target.href, cookie: `${mark}; Path=/; Max-Age=5; HttpOnly; SameSite=Lax` };
}

const CONNECTING = /^\/(?:oauth\/authorize|connect)(?:[/?]|$)/;
const COOKIES_BEGIN = /^\/(?:oauth\/authorize|connect|sign-in|sign-up|forgot-password|reset-password)(?:[/?]|$)/;
const LOOPBACK = new Set(["localhost", "localhost.", "127.0.0.1", "[::1]"]);

function otherHosts(headers: IncomingHttpHeaders): string[] {
  const listed = [headers["x-forwarded-host"] ?? []].flat().flatMap((each) => each.split(","));
  const forwarded = [...(headers.forwarded ?? "").matchAll(/host="?([^";,\s]+)/gi)].map(([, host]) => host as string);
  return [...listed, ...forwarded].map((each) => each.trim());
}
