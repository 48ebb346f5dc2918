import type { IncomingMessage, ServerResponse } from "node:http";
import { awayPage } from "../connect/error-page.ts";
import { RETRY_AFTER_SECONDS, wasAwaySince } from "../platform/away.ts";

/**
 * Next answers whatever a page or a route throws with 500, and a page that is made again
 * by its scripts. When the database was away meanwhile, that becomes 503 with Retry-After:
 * for a browser a page that can be read without scripts, for programs what they read.
 */
export function tellWhenAway(incoming: IncomingMessage, outgoing: ServerResponse): void {
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
    // Now, because end() would come back here for the head.
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
    done(all);
    return true;
  }) as typeof write;
  outgoing.end = ((...all: unknown[]) => {
    if (!replace()) return (end as (...all: unknown[]) => ServerResponse).apply(outgoing, all);
    done(all);
    return outgoing;
  }) as typeof end;
}

/** Whoever waits for what it wrote goes on. */
function done(written: unknown[]): void {
  const answer = written.at(-1);
  if (typeof answer === "function") queueMicrotask(() => answer());
}

function wantsPage({ headers, url = "" }: IncomingMessage): boolean {
  return (headers.accept ?? "").includes("text/html") && !url.startsWith("/api/");
}
