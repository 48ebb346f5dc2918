import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { env, publicUrl } from "#env";
import { trustAddress } from "../http/address.ts";
import { limitBody } from "../http/body-limit.ts";
import { errorReply } from "../http/errors.ts";
import { fromNode, type Reply, sendNode } from "../http/exchange.ts";
import { isOAuth } from "../http/oauth.ts";
import { RETRY_AFTER_SECONDS } from "../platform/away.ts";
import { database } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { newId, requestIdOf } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import { boundConnections, type ConnectionLimits } from "./connections.ts";
import { answerOAuth } from "./oauth.ts";
import { redirectedToOwnAddress } from "./own-address.ts";
import type { Routes } from "./routes.ts";
import { replaceErrorWhenAway } from "./unavailable.ts";
import { hasWrongBaseUrl, unknownPath } from "./wrong-path.ts";

export type PageHandler = (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>;

/** Larger bodies for pages are refused. Forms have a few kilobytes, a logo 43 kB, and events of Stripe less than this limit. */
const LARGEST_PAGE_BODY_BYTES = 1024 * 1024;

/** A server that answers /v1 by its doors, OAuth by the authorization server, and everything else by `pages`. */
export function createQuotaServer(
  routes: Routes,
  pages: { handle: PageHandler; upgrades?: (incoming: IncomingMessage) => boolean },
  limits: ServerLimits = LIMITS,
): Server {
  const options = {
    ...(pages.upgrades === undefined ? {} : { shouldUpgradeCallback: pages.upgrades }),
    connectionsCheckingInterval: limits.checkEveryMs,
    headersTimeout: limits.headMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.idleMs,
  };
  // RFC 6797 §7.2: HSTS is sent over https only. QUOTA_URL says whether browsers use https, also when a proxy ends
  // TLS. Without includeSubDomains, because subdomains may be other services.
  const secured = publicUrl().startsWith("https:");
  const answer = (url: string, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    if (/^\/v1(?:[/?]|$)/.test(url) || hasWrongBaseUrl(url)) return answerApi(routes, incoming, outgoing);
    if (url === "/healthz") return answerHealth(incoming, outgoing);
    trustAddress(incoming, env.QUOTA_TRUSTED_PROXIES);
    return isOAuth(url) ? answerOAuth(incoming, outgoing, limits) : answerPage(pages.handle, limits, incoming, outgoing);
  };
  const server = createServer(options, (incoming, outgoing) => {
    if (secured) outgoing.setHeader("strict-transport-security", "max-age=31536000");
    if (hasTwoHosts(incoming)) return refuseTwoHosts(incoming, outgoing);
    toOriginForm(incoming);
    const url = incoming.url ?? "/";
    answer(url, incoming, outgoing).catch((error: unknown) => {
      // No error answer can be sent: the client is gone, or the head of the answer was sent already.
      if (!outgoing.destroyed) log.error("request failed", { error });
      outgoing.destroy();
    });
  });
  boundConnections(server, limits);
  return server;
}

/** Limits for receiving requests. The time to answer has limits elsewhere. */
export type ServerLimits = ConnectionLimits & {
  /** For the head of a request, from its first byte or, for the first request, from the start of the connection. */
  headMs: number;
  /** For a whole request: long enough for the largest body on a slow connection. */
  requestMs: number;
  /** The longest pause while a body for OAuth or a page arrives. */
  bodyIdleMs: number;
  /** Between two requests of a connection. */
  idleMs: number;
  /** How often Node checks `headMs` and `requestMs`. */
  checkEveryMs: number;
};

const LIMITS: ServerLimits = {
  headMs: 10_000,
  requestMs: 120_000,
  bodyIdleMs: 20_000,
  idleMs: 65_000,
  checkEveryMs: 1_000,
  mostConnections: env.QUOTA_MAX_CONNECTIONS,
  // Behind a proxy all connections come from the proxy's address.
  mostPendingPerAddress: env.QUOTA_TRUSTED_PROXIES === 0 ? 256 : null,
  graceMs: 2_000,
};

/**
 * RFC 9112 §3.2: a request with more than one Host is refused, because a proxy in front could use another
 * one than this server does. Node keeps the first and reports no error.
 */
function hasTwoHosts({ rawHeaders }: IncomingMessage): boolean {
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    if (name.length === 4 && name.toLowerCase() === "host") hosts++;
  }
  return hosts > 1;
}

function refuseTwoHosts(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const requestId = requestIdOf(newId());
  const error = new AppError("bad_request", { param: "Host", message: "The request has more than one Host header." });
  void sendNode(errorReply(error, requestId, { connection: "close" }), incoming, outgoing);
}

async function answerPage(pages: PageHandler, limits: ServerLimits, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (await redirectedToOwnAddress(incoming, outgoing)) return;
  const limited = await limitBody(incoming, outgoing, LARGEST_PAGE_BODY_BYTES, limits);
  if (limited === "gone") return void outgoing.destroy();
  if (limited === "too_large")
    return sendNode(plainReply(413, `The request body is larger than ${LARGEST_PAGE_BODY_BYTES} bytes.`), incoming, outgoing);
  if (limited === "too_slow") {
    const late = plainReply(408, "The rest of the request did not arrive in time.");
    return sendNode({ ...late, headers: { ...late.headers, connection: "close" } }, incoming, outgoing);
  }
  if ("excess" in limited) return sendNode(plainReply(400, `The request body ${limited.excess}.`), incoming, outgoing);
  replaceErrorWhenAway(limited, outgoing);
  return pages(limited, outgoing);
}

function plainReply(status: number, sentence: string): Reply {
  return { status, headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" }, body: `${sentence}\n` };
}

/**
 * RFC 9112 §3.2.2: a target in absolute form, as requests to proxies have, is accepted;
 * its host replaces the Host header.
 */
function toOriginForm(incoming: IncomingMessage): void {
  const [whole, host] = /^https?:\/\/(?:[^/?#@]*@)?([^/?#]+)/i.exec(incoming.url ?? "") ?? [];
  if (whole === undefined || host === undefined) return;
  const rest = (incoming.url as string).slice(whole.length);
  incoming.url = rest.startsWith("/") ? rest : `/${rest}`;
  incoming.headers.host = host;
}

async function answerApi(routes: Routes, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const request = fromNode(incoming, outgoing);
  const methods = routes.find(request.path);
  const door = methods?.get(request.method === "HEAD" ? "GET" : request.method);
  if (door !== undefined) return sendNode(await door.reply(request), incoming, outgoing);
  const allow = [...(methods?.keys() ?? [])].join(", ");
  const error = methods === null ? unknownPath(request.method, request.path) : new AppError("method_not_allowed", { headers: { allow } });
  const requestId = requestIdOf(newId());
  await sendNode(errorReply(error, requestId, {}, request.path), incoming, outgoing);
}

/** For load balancers and health checks of containers: 200 when the database answers, else 503. */
async function answerHealth(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  let reply: Reply = { status: 200, headers: { "content-type": "application/json" }, body: '{"status":"ok"}' };
  try {
    await (await database()).sql.query({ name: "health", text: "SELECT 1" }, []);
  } catch {
    const headers = { "content-type": "application/json", "retry-after": String(RETRY_AFTER_SECONDS) };
    reply = { status: 503, headers, body: '{"status":"database unavailable"}' };
  }
  await sendNode(reply, incoming, outgoing);
}
