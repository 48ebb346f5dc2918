import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

/**
 * Redirects to QUOTA_URL. The journeys that connect a wallet or sign a user in set cookies, which a browser keeps for
 * one host, and continue at QUOTA_URL. A journey that starts at another host would lose its cookies.
 */

/** The address of this server. `configured`: by QUOTA_URL; without it the origin is an assumption. */
export type OwnAddress = { origin: string; configured: boolean };

/**
 * The redirect of a request that starts such a journey at another host: the same path and query at the own address, and
 * a cookie that marks the redirect. null when the request has the own host or starts no journey. "loop" when the request
 * has the mark: it was redirected and has another Host again, so a proxy replaces the browser's Host.
 *
 * The origin of the location is always the own one, so that a forged header cannot redirect to another site.
 */
export function redirectToOwn(
  request: { method?: string | undefined; url?: string | undefined; headers: IncomingHttpHeaders },
  own: OwnAddress,
): { location: string; cookie: string } | "loop" | null {
  const { method, url = "/", headers } = request;
  if (method !== "GET" && method !== "HEAD") return null;
  if (!(own.configured ? SETS_COOKIES : CONNECTS).test(url)) return null;
  const { host, protocol } = new URL(own.origin);
  const asked = URL.parse(`${protocol}//${headers.host ?? ""}`);
  if (asked === null || asked.host === host) return null;
  // A proxy may replace Host and pass the browser's in another header. A forged one only prevents the redirect.
  if (otherHosts(headers).some((each) => URL.parse(`${protocol}//${each}`)?.host === host)) return null;
  // A container's port may be published under another number, so localhost with the configured port may be another server.
  if (!own.configured && !(LOOPBACK.has(asked.hostname) && asked.port === new URL(own.origin).port)) return null;
  const target = new URL(own.origin);
  const [path = "/", query] = url.split(/\?(.*)/s);
  target.pathname = path;
  target.search = query ?? "";
  const mark = `quota_moved=${createHash("sha256").update(url).digest("base64url").slice(0, 22)}`;
  if (headers.cookie?.split(/; */).includes(mark)) return "loop";
  return { location: target.href, cookie: `${mark}; Path=/; Max-Age=5; HttpOnly; SameSite=Lax` };
}

const CONNECTS = /^\/(?:oauth\/authorize|connect)(?:[/?]|$)/;
const SETS_COOKIES = /^\/(?:oauth\/authorize|connect|sign-in|sign-up|forgot-password|reset-password)(?:[/?]|$)/;
const LOOPBACK = new Set(["localhost", "localhost.", "127.0.0.1", "[::1]"]);

function otherHosts(headers: IncomingHttpHeaders): string[] {
  const listed = [headers["x-forwarded-host"] ?? []].flat().flatMap((each) => each.split(","));
  const forwarded = [...(headers.forwarded ?? "").matchAll(/host="?([^";,\s]+)/gi)].map(([, host]) => host as string);
  return [...listed, ...forwarded].map((each) => each.trim());
}
