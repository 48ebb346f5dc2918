import { createServer, type IncomingMessage } from "node:http";
import next from "next";
import { env } from "#env";
import { root } from "./build.ts";
import type { PageHandler } from "./listen.ts";

/** Next's request handler: pages, sign-in, tRPC and static files. `upgrades` is true for requests that Next upgrades to WebSockets. */
export async function pageHandler(options: {
  development: boolean;
}): Promise<{ handle: PageHandler; upgrades?: (incoming: IncomingMessage) => boolean; close(): Promise<void> }> {
  const app = next({
    dev: options.development,
    dir: root,
    hostname: env.HOST,
    port: env.PORT,
    // Next adds an "upgrade" listener to its server, and Node then passes every request that asks for an
    // upgrade to it. Only development needs that. Otherwise Next gets a server that never listens, and
    // Quota's server ignores the Upgrade header (RFC 9110 §7.8).
    ...(options.development ? {} : { httpServer: createServer() }),
  });
  await app.prepare();
  const handle = app.getRequestHandler();
  return {
    handle: (incoming, outgoing) => handle(incoming, outgoing),
    ...(options.development ? { upgrades: isReload } : {}),
    close: () => app.close(),
  };
}

/** The WebSocket by which Next reloads pages in development. */
function isReload({ url, headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === "websocket" && url?.startsWith("/_next/") === true;
}
