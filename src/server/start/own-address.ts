import type { IncomingMessage, ServerResponse } from "node:http";
import { env, publicUrl } from "#env";
import { sendNode } from "../http/exchange.ts";
import { redirectToOwn } from "../http/own-address.ts";
import { log } from "../platform/log.ts";

/** Redirects a request that has to be made at QUOTA_URL and came with another Host. Returns whether it redirected. */
export async function redirectedToOwnAddress(incoming: IncomingMessage, outgoing: ServerResponse): Promise<boolean> {
  const redirect = redirectToOwn(incoming, { origin: new URL(publicUrl()).origin, configured: env.QUOTA_URL !== undefined });
  if (redirect === "loop") warnOfProxy(incoming);
  if (redirect === "loop" || redirect === null) return false;
  const headers = {
    location: redirect.location,
    "set-cookie": redirect.cookie,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
  };
  await sendNode({ status: 307, headers, body: null }, incoming, outgoing);
  return true;
}

let warned = false;

/** Logs once per process: pages work, with one redirect too many each time. */
function warnOfProxy(incoming: IncomingMessage): void {
  if (warned) return;
  warned = true;
  log.warn("requests for QUOTA_URL arrive with another Host: let the proxy pass on Host, or send X-Forwarded-Host", {
    host: incoming.headers.host,
    expected: new URL(publicUrl()).host,
  });
}
