import type { IncomingMessage, ServerResponse } from "node:http";
import { awayPage } from "../connect/error-page.ts";
import { RETRY_AFTER_SECONDS, wasAwaySince } from "../platform/away.ts";

/**
 * Next answers 500 for every error of a page or route, with a page that needs scripts to be
 * readable. When the database could not be reached since the request began, that answer is
 * replaced by 503 with Retry-After: HTML without scripts for browsers, JSON for others.
 */
export function replaceErrorWhenAway(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const since = Date.now();
  const { writeHead, write, end } = outgoing;
  let replaced = false;

  const replace = (): boolean => {
    if (replaced) return true;
    if (outgoing.headersSent || outgoing.statusCode !== 500 || !wasAwaySince(since)) return false;
    replaced = true;
    const body = wantsPage(incoming) ? awayPage() : JSON.stringify({ message: "The server's database cannot be reached." });
    for (const name of ["etag", "content-encoding", "transfer-encoding", "location"]) outgoing.removeHeader(name);
    outgoing.statusCode = 503;
    outgoing.setHeader("retry-after", String(RETRY_AFTER_SECONDS));
    outgoing.setHeader("cache-control", "no-store");
    outgoing.setHeader("content-type", wantsPage(incoming) ? "text/html; charset=utf-8" : "application/json; charset=utf-8");
    outgoing.setHeader("content-length", Buffer.byteLength(body));
    // Before end(), which would call the replaced writeHead.
    writeHead.call(outgoing, 503);
    end.call(outgoing, incoming.method === "HEAD" ? "" : body, "utf8");
    return true;
  };

  outgoing.writeHead = ((status: number, ...rest: unknown[]) => {
    outgoing.statusCode = status;
    return replace() ? outgoing : (writeHead as (...all: unknown[]) => ServerResponse).call(outgoing, status, ...rest);
  }) as typeof writeHead;
  outgoing.write = ((...all: unknown[]) => {
    if (!replace()) return (write as (...all: unknown[]) => boolean).apply(outgoing, all);
    callBack(all);
    return true;
  }) as typeof write;
  outgoing.end = ((...all: unknown[]) => {
    if (!replace()) return (end as (...all: unknown[]) => ServerResponse).apply(outgoing, all);
    callBack(all);
    return outgoing;
  }) as typeof end;
}

/** Calls the callback of a `write` or `end` that was replaced, so that Next continues. */
function callBack(written: unknown[]): void {
  const answer = written.at(-1);
  if (typeof answer === "function") queueMicrotask(() => answer());
}

function wantsPage({ headers, url = "" }: IncomingMessage): boolean {
  return (headers.accept ?? "").includes("text/html") && !url.startsWith("/api/");
}
