/**
 * The security headers of pages. Next sets them by path (next.config.js); our own server sets them on
 * what it answers itself under those paths.
 */
export function pageHeaders(options: { development?: boolean; formAction?: string; images?: string } = {}): Record<string, string> {
  const { development = false, formAction = "'self'", images = "'self' data: https:" } = options;
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
  return {
    "Content-Security-Policy": contentSecurityPolicy,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(self)",
  };
}

/**
 * Of the pages under /connect, /oauth and /checkout. The forms of the consent page and of the sandbox checkout end at
 * an address of the app, and browsers apply form-action to every redirect on the way. An app's address is https, or http
 * on this machine. The addresses of these pages are secret, so they go into no Referer and no cache.
 */
export function connectHeaders(development = false): Record<string, string> {
  const formAction = "'self' https: http://localhost:* http://127.0.0.1:*";
  return {
    ...pageHeaders({ development, formAction, images: "'self' data:" }),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
  };
}
