import { PHASE_DEVELOPMENT_SERVER } from "next/constants.js";
import { connectHeaders, pageHeaders } from "./src/server/http/page-headers.ts";

/** @type {(phase: string) => import("next").NextConfig} */
export default function config(phase) {
  const development = phase === PHASE_DEVELOPMENT_SERVER;
  return {
    poweredByHeader: false,
    // `npm test` runs the type checker over everything; a second run here would only make the build slower.
    typescript: { ignoreBuildErrors: true },
    // Loaded by Node as they are: they bring WASM or native code of their own, or must be the
    // same modules that the server in front of Next has loaded already.
    serverExternalPackages: [
      "@electric-sql/pglite",
      "@node-rs/argon2",
      "@prisma/adapter-pg",
      "@prisma/client",
      "fs-native-extensions",
      "gpt-tokenizer",
      "koa",
      "nodemailer",
      "oidc-provider",
      "pg",
      "pglite-prisma-adapter",
      "stripe",
      "undici",
    ],
    // Browsers ask for the first where a page names no icon, such as at an answer of the API.
    async rewrites() {
      return [
        { source: "/favicon.ico", destination: "/icon.svg" },
        { source: "/docs/:page([a-z-]+).md", destination: "/docs/:page/markdown" },
      ];
    },
    async headers() {
      return [
        // The API answers programs and sets its own headers; scripts and styles are no pages.
        { source: "/((?!v1(?:/|$)|_next/static/).*)", headers: listed(pageHeaders({ development })) },
        { source: "/_next/static/:rest*", headers: [{ key: "X-Content-Type-Options", value: "nosniff" }] },
        { source: "/:path(connect|oauth|checkout)/:rest*", headers: listed(connectHeaders(development)) },
      ];
    },
  };
}

function listed(headers) {
  return Object.entries(headers).map(([key, value]) => ({ key, value }));
}
