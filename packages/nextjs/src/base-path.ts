/** @internal Next's `basePath`, which Next writes into server and browser bundles; "" without one. */
export function nextBasePath(): string {
  try {
    return process.env.__NEXT_ROUTER_BASEPATH || "";
  } catch {
    // A browser bundle that another tool made has no `process`.
    return "";
  }
}

/** @internal A path of the app, as in `<Link>`, with Next's `basePath` before it, as the browser needs it. */
export function browserPath(path: string): string {
  return path.startsWith("/") ? nextBasePath() + path : path;
}
