import { createServer, type IncomingMessage } from "node:http";
import next from "next";
import { env } from "#env";
import { root } from "./build.ts";
import type { PageHandler } from "./listen.ts";

/** Next's own request handler: pages, sign-in, tRPC and static files. `upgrades` tells which requests it takes over as WebSockets. */
export async function pageHandler(options: {
  development: boolean;
}): Promise<{ handle: PageHandler; upgrades?: (incoming: IncomingMessage) => boolean; close(): Promise<void> }> {
  const app = next({
    dev: options.development,
    dir: root,
    hostname: env.HOST,
    port: env.PORT,
    // Next hooks itself into the server for upgrades, and Node then leaves every request that
    // asks for one to whoever is hooked in. Only development has a use for that, so otherwise
    // Next gets a server that never listens, and ours answers as if nobody had asked (RFC 9110 §7.8).
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

/** The WebSocket that reloads pages while somebody works on them. */
function isReload({ url, headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === "websocket" && url?.startsWith("/_next/") === true;
}
