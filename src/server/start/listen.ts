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
import { movedToOwnAddress } from "./own-address.ts";
import type { Routes } from "./routes.ts";
import { tellWhenAway } from "./unavailable.ts";

export type PageHandler = (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>;

/** The largest body that a page takes. Forms have a few kilobytes, a logo 43 and an event of Stripe less than this. */
const LARGEST_PAGE_BODY_BYTES = 1024 * 1024;

/** One server: /v1 goes to its doors directly, OAuth to the authorization server, everything else to the pages. */
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
  // RFC 6797 §7.2: over https only, which is what browsers come by where the public address says so,
  // whoever ends TLS. Without subdomains, which may be somebody else's.
  const secured = publicUrl().startsWith("https:");
  const answer = (url: string, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    if (/^\/v1(?:[/?]|$)/.test(url)) return answerApi(routes, incoming, outgoing);
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
      // The client is gone, or the stream broke after its head was sent: nobody is left to tell.
      if (!outgoing.destroyed) log.error("request failed", { error });
      outgoing.destroy();
    });
  });
  boundConnections(server, limits);
  return server;
}

/** For receiving requests; answering them has limits of its own. */
export type ServerLimits = ConnectionLimits & {
  /** The head of a request, from its first byte or from the beginning of the connection. */
  headMs: number;
  /** A whole request: a slow connection's time for the largest body. */
  requestMs: number;
  /** How long the body of a request may pause on its way to OAuth or a page. */
  bodyIdleMs: number;
  /** Between two requests. */
  idleMs: number;
  /** How often what is too late is looked for. */
  checkEveryMs: number;
};

const LIMITS: ServerLimits = {
  headMs: 10_000,
  requestMs: 120_000,
  bodyIdleMs: 20_000,
  idleMs: 65_000,
  checkEveryMs: 1_000,
  most: env.QUOTA_MAX_CONNECTIONS,
  // Behind a proxy all come from its address.
  mostBegunOfOneAddress: env.QUOTA_TRUSTED_PROXIES === 0 ? 256 : null,
  graceMs: 2_000,
};

/**
 * RFC 9112 §3.2: a request with more than one Host is refused, or what stands in front of this
 * server could take another one for it. Node keeps the first without a word.
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
  if (await movedToOwnAddress(incoming, outgoing)) return;
  const limited = await limitBody(incoming, outgoing, LARGEST_PAGE_BODY_BYTES, limits);
  if (limited === "gone") return void outgoing.destroy();
  if (limited === "too_large")
    return sendNode(plainReply(413, `The request body is larger than ${LARGEST_PAGE_BODY_BYTES} bytes.`), incoming, outgoing);
  if (limited === "too_slow") {
    const late = plainReply(408, "The rest of the request did not arrive in time.");
    return sendNode({ ...late, headers: { ...late.headers, connection: "close" } }, incoming, outgoing);
  }
  if ("excess" in limited) return sendNode(plainReply(400, `The request body ${limited.excess}.`), incoming, outgoing);
  tellWhenAway(limited, outgoing);
  return pages(limited, outgoing);
}

function plainReply(status: number, sentence: string): Reply {
  return { status, headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" }, body: `${sentence}\n` };
}

/**
 * RFC 9112 §3.2.2: a request may name its target with scheme and host, as to a proxy;
 * then that host counts, and not the one in the header.
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
  const error =
    methods === null
      ? new AppError("not_found", { message: `There is nothing at ${request.method} ${request.path.slice(0, 200)}.` })
      : new AppError("method_not_allowed", { headers: { allow } });
  const requestId = requestIdOf(newId());
  await sendNode(errorReply(error, requestId, {}), incoming, outgoing);
}

/** For load balancers and container health checks: 200 while the database answers. */
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
