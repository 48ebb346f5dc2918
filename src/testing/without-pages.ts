import { registerHooks } from "node:module";

/**
 * A module for `node --import` before the server: it then serves /v1 without Next, for tests that
 * start many servers and request no pages.
 */
registerHooks({
  load(url, context, next) {
    if (url.endsWith("/server/start/pages.ts")) return { format: "module", shortCircuit: true, source: NO_PAGES };
    if (url.endsWith("/server/start/build.ts")) return { format: "module", shortCircuit: true, source: NO_BUILD };
    return next(url, context);
  },
});

const NO_PAGES = `
  export const pageHandler = async () => ({
    handle: async (_incoming, outgoing) => void outgoing.writeHead(404).end("This server has no pages."),
    close: async () => {},
  });`;

const NO_BUILD = "export const ensureBuild = async () => false;";
