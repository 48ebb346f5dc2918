import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test as base } from "./fixtures.ts";

/**
 * An app that people return to, on a port of its own. It listens, because Playwright's `page.route` sees no
 * request that follows from a redirect: what listens on the port of a redirect URI would answer in its place.
 */
export const test = base.extend<{ app: { url: string } }>({
  // biome-ignore lint/correctness/noEmptyPattern: Playwright reads what a fixture needs from this pattern, and takes no other for none.
  app: async ({}, use) => {
    const server = createServer(
      (_request, response) => void response.setHeader("content-type", "text/html").end("<title>App</title><h1>Back in the app</h1>"),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    await use({ url: `http://localhost:${(server.address() as AddressInfo).port}/callback` });
    server.closeAllConnections();
    server.close();
  },
});

export { expect } from "./fixtures.ts";
