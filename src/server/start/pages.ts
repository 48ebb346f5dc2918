import next from "next";
import { env } from "#env";
import { root } from "./build.ts";
import type { PageHandler } from "./listen.ts";

/** Next's own request handler: pages, sign-in, tRPC and static files. */
export async function pageHandler(options: { development: boolean }): Promise<{ handle: PageHandler; close(): Promise<void> }> {
  const app = next({ dev: options.development, dir: root, hostname: env.HOST, port: env.PORT });
  await app.prepare();
  const handle = app.getRequestHandler();
  return { handle: (incoming, outgoing) => handle(incoming, outgoing), close: () => app.close() };
}
