/**
 * The security headers of pages. Next sets them by path (next.config.js). Quota's server sets them on the answers that
 * it gives under those paths without Next.
 */
export function pageHeaders(options: { development?: boolean; formAction?: string; images?: string } = {}): Record<string, string> {
  const { development = false, formAction = "'self'", images = "'self' data: https:" } = options;
  const contentSecurityPolicy = [
    "default-src 'self'",
    // Next puts a page's data into inline scripts, and React's refresh evaluates code in development.
    `script-src 'self' 'unsafe-inline'${development ? " 'unsafe-eval'" : ""}`,
    "style-src 'self' 'unsafe-inline'",
    // An app's logo may have any https address.
    `img-src ${images}`,
    "font-src 'self'",
    `connect-src 'self'${development ? " ws:" : ""}`,
    "object-src 'none'",
    "base-uri 'self'",
    `form-action ${formAction}`,
    "frame-ancestors 'none'",
  ].join("; ");
  return {
    "Content-Security-Policy": contentSecurityPolicy,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(self)",
  };
}

/**
 * The headers of pages under /connect, /oauth and /checkout. The forms of the consent page and of the sandbox checkout
 * redirect to an address of the app, and browsers apply form-action to every redirect. An app's address is https, or
 * http on localhost. The URLs of these pages contain secrets, which must not get into a Referer or a cache.
 */
export function connectHeaders(development = false): Record<string, string> {
  const formAction = "'self' https: http://localhost:* http://127.0.0.1:*";
  return {
    ...pageHeaders({ development, formAction, images: "'self' data:" }),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
  };
}
