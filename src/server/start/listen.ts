import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { env } from "#env";
import { trustAddress } from "../http/address.ts";
import { errorReply } from "../http/errors.ts";
import { fromNode, type Reply, sendNode } from "../http/exchange.ts";
import { database } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { newId, requestIdOf } from "../platform/ids.ts";
import { log } from "../platform/log.ts";
import type { Routes } from "./routes.ts";

export type PageHandler = (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>;

/** One server: /v1 goes to its doors directly, everything else to the pages. */
export function createQuotaServer(routes: Routes, pages: PageHandler): Server {
  const server = createServer((incoming, outgoing) => {
    const url = incoming.url ?? "/";
    const answered = /^\/v1(?:[/?]|$)/.test(url)
      ? answerApi(routes, incoming, outgoing)
      : url === "/healthz"
        ? answerHealth(incoming, outgoing)
        : answerPage(pages, incoming, outgoing);
    answered.catch((error: unknown) => {
      // The client is gone, or the stream broke after its head was sent: nobody is left to tell.
      if (!outgoing.destroyed) log.error("request failed", { error });
      outgoing.destroy();
    });
  });
  // For receiving a request; answering it has limits of its own.
  server.requestTimeout = 120_000;
  server.headersTimeout = 30_000;
  server.keepAliveTimeout = 65_000;
  return server;
}

async function answerPage(pages: PageHandler, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  trustAddress(incoming, env.QUOTA_TRUSTED_PROXIES);
  return pages(incoming, outgoing);
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
  await sendNode(errorReply(error, requestId, { "x-request-id": requestId, "access-control-allow-origin": "*" }), incoming, outgoing);
}

/** For load balancers and container health checks: 200 while the database answers. */
async function answerHealth(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  let reply: Reply = { status: 200, headers: { "content-type": "application/json" }, body: '{"status":"ok"}' };
  try {
    await (await database()).sql.query({ name: "health", text: "SELECT 1" }, []);
  } catch {
    reply = { status: 503, headers: { "content-type": "application/json" }, body: '{"status":"database unavailable"}' };
  }
  await sendNode(reply, incoming, outgoing);
}
