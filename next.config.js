import { PHASE_DEVELOPMENT_SERVER } from "next/constants.js";

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
        { source: "/((?!v1(?:/|$)|_next/static/).*)", headers: pageHeaders(development) },
        { source: "/_next/static/:rest*", headers: [{ key: "X-Content-Type-Options", value: "nosniff" }] },
        // The forms of the consent page and of the sandbox checkout end at an address of the app,
        // and browsers apply form-action to every redirect on the way. An app's address is https, or http on this machine.
        // What addresses these pages have is nobody else's business.
        {
          source: "/:path(connect|oauth|checkout)/:rest*",
          headers: [
            ...pageHeaders(development, { formAction: "'self' https: http://localhost:* http://127.0.0.1:*", images: "'self' data:" }),
            { key: "Referrer-Policy", value: "no-referrer" },
            { key: "Cache-Control", value: "no-store" },
          ],
        },
      ];
    },
  };
}

function pageHeaders(development, { formAction = "'self'", images = "'self' data: https:" } = {}) {
  const contentSecurityPolicy = [
    "default-src 'self'",
    // Next puts a page's data into inline scripts, and React's refresh evaluates code in development.
    `script-src 'self' 'unsafe-inline'${development ? " 'unsafe-eval'" : ""}`,
    "style-src 'self' 'unsafe-inline'",
    // Apps bring their own logos.
    `img-src ${images}`,
    "font-src 'self'",
    `connect-src 'self'${development ? " ws:" : ""}`,
    "object-src 'none'",
    "base-uri 'self'",
    `form-action ${formAction}`,
    "frame-ancestors 'none'",
  ].join("; ");
  return [
    { key: "Content-Security-Policy", value: contentSecurityPolicy },
    { key: "X-Frame-Options", value: "DENY" },
    { key: "X-Content-Type-Options", value: "nosniff" },
    { key: "Referrer-Policy", value: "strict-origin-when-cross-origin" },
    { key: "Permissions-Policy", value: "camera=(), geolocation=(), microphone=(), payment=(self)" },
  ];
}
