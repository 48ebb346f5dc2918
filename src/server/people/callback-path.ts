/**
 * Where to go after signing in: the path of `callbackUrl` when it is on this
 * server, else `fallback`. Only ever a path, so that a link to our sign-in page
 * can't send people elsewhere.
 */
export function callbackPath(callbackUrl: unknown, ownOrigin: string, fallback: string): string {
  if (typeof callbackUrl !== "string" || callbackUrl === "") return fallback;
  const url = URL.parse(callbackUrl, ownOrigin);
  if (url === null || url.origin !== new URL(ownOrigin).origin) return fallback;
  const path = url.pathname + url.search + url.hash;
  // A browser reads `//host/…` as the address of another server.
  if (path.startsWith("//")) return fallback;
  return path;
}
