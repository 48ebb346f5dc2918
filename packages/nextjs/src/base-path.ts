/** @internal Next's own `basePath`, which it writes into all that it bundles, for the server and for browsers; "" without one. */
export function nextBasePath(): string {
  try {
    return process.env.__NEXT_ROUTER_BASEPATH || "";
  } catch {
    // A browser's bundle that Next did not make.
    return "";
  }
}

/** @internal A path of the app as links within the app name it, as the browser knows it: with Next's `basePath` before it. */
export function browserPath(path: string): string {
  return path.startsWith("/") ? nextBasePath() + path : path;
}
