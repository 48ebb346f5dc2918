import { IncomingMessage, type ServerResponse } from "node:http";
import { AppError } from "../platform/errors.ts";
import { excessOf, type JsonBounds } from "../platform/json.ts";
import { fromNode } from "./exchange.ts";

/** Forms in JSON, and Stripe's events with all their lines. */
const PAGE_JSON: JsonBounds = { depth: 64, containers: 10_000, members: 20_000, values: 50_000 };

/**
 * The request for a handler that reads bodies without a limit of its own. "too_large"
 * when its body has more than `limit` bytes, of which no more are kept; "gone" when its
 * client left in the middle, "too_slow" when it stopped there; `{ excess }` when it is JSON with more in it than a page has a use for.
 * Of a body that announces its length Node takes no more than that; one that does not, and JSON, is read here first.
 */
export async function limitBody(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  limit: number,
  options: { bodyIdleMs?: number } = {},
): Promise<IncomingMessage | "too_large" | "too_slow" | "gone" | { excess: string }> {
  const isJson = /json/i.test(incoming.headers["content-type"] ?? "");
  const length = Number(incoming.headers["content-length"] ?? 0);
  if (incoming.headers["transfer-encoding"] === undefined) {
    if (length > limit) return "too_large";
    if (!isJson || length === 0) return incoming;
  }
  try {
    const body = await fromNode(incoming, outgoing, options).read(limit);
    if (body === "too_large") return body;
    const excess = isJson ? excessOf(Buffer.from(body).toString(), PAGE_JSON) : null;
    return excess === null ? withBody(incoming, body) : { excess };
  } catch (error) {
    return error instanceof AppError && error.code === "request_timeout" ? "too_slow" : "gone";
  }
}

/** The same request once more, with the body that was read from it. */
export function withBody(incoming: IncomingMessage, body: Uint8Array): IncomingMessage {
  const again = new IncomingMessage(incoming.socket);
  again.method = incoming.method;
  again.url = incoming.url;
  again.httpVersion = incoming.httpVersion;
  again.httpVersionMajor = incoming.httpVersionMajor;
  again.httpVersionMinor = incoming.httpVersionMinor;
  const { "transfer-encoding": _, ...headers } = incoming.headers;
  again.headers = { ...headers, "content-length": String(body.length) };
  if (body.length > 0) again.push(body);
  again.push(null);
  again.complete = true;
  return again;
}
