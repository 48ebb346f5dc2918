import { IncomingMessage, type ServerResponse } from "node:http";
import { AppError } from "../platform/errors.ts";
import { excessOf, type JsonBounds } from "../platform/json.ts";
import { fromNode } from "./exchange.ts";

/** Enough for forms in JSON, and for Stripe's events with all line items. */
const PAGE_JSON: JsonBounds = { depth: 64, containers: 10_000, members: 20_000, values: 50_000 };

/**
 * The request, for a handler that reads bodies without a limit. "too_large" when its body has more than `limit` bytes,
 * of which no more are kept; "gone" when the client disconnects before the end of the body; "too_slow" when no byte of
 * it arrives for `bodyIdleMs`; `{ excess }` when it is JSON that exceeds PAGE_JSON. A chunked body and JSON are buffered
 * here first. Any other body is not: Node reads no more of it than its Content-Length says.
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

/** A copy of a request with a buffered body, because the body of the original can be read only once. */
export function withBody(incoming: IncomingMessage, body: Uint8Array): IncomingMessage {
  const copy = new IncomingMessage(incoming.socket);
  copy.method = incoming.method;
  copy.url = incoming.url;
  copy.httpVersion = incoming.httpVersion;
  copy.httpVersionMajor = incoming.httpVersionMajor;
  copy.httpVersionMinor = incoming.httpVersionMinor;
  const { "transfer-encoding": _, ...headers } = incoming.headers;
  copy.headers = { ...headers, "content-length": String(body.length) };
  if (body.length > 0) copy.push(body);
  copy.push(null);
  copy.complete = true;
  return copy;
}
