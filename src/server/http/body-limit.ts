import { IncomingMessage, type ServerResponse } from "node:http";
import { fromNode } from "./exchange.ts";

/**
 * The request for a handler that reads bodies without a limit of its own. "too_large"
 * when its body has more than `limit` bytes, of which no more are kept; "gone" when its
 * client left in the middle. Of a body that announces its length Node takes no more than
 * that; one that does not is read here first.
 */
export async function limitBody(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  limit: number,
): Promise<IncomingMessage | "too_large" | "gone"> {
  if (incoming.headers["transfer-encoding"] === undefined)
    return Number(incoming.headers["content-length"] ?? 0) > limit ? "too_large" : incoming;
  try {
    const body = await fromNode(incoming, outgoing).read(limit);
    return body === "too_large" ? body : withBody(incoming, body);
  } catch {
    return "gone";
  }
}

/** The same request once more, with the body that was read from it. */
function withBody(incoming: IncomingMessage, body: Uint8Array): IncomingMessage {
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
