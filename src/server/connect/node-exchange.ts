import { IncomingMessage, ServerResponse } from "node:http";
import { Duplex } from "node:stream";

// oidc-provider takes node's request and response. These stand in for them where Next has the web's `Request` and
// `Response`: for the consent page and its form, and for the OAuth routes of src/app under plain `next start`.

/** A request as Koa reads it; `body` null for the head alone. `url` is absolute. */
export function nodeRequest(request: { url: string; method: string; headers: Headers }, body: Uint8Array | null): IncomingMessage {
  const { pathname, search } = new URL(request.url);
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const incoming = new IncomingMessage(socket as never);
  incoming.method = request.method;
  incoming.url = pathname + search;
  incoming.httpVersion = "1.1";
  for (const [name, value] of request.headers) incoming.headers[name] = value;
  delete incoming.headers["transfer-encoding"];
  if (body !== null) {
    incoming.headers["content-length"] = String(body.length);
    incoming.push(body);
  }
  incoming.push(null);
  incoming.complete = true;
  return incoming;
}

/** Buffers what is written to it. */
export class BufferedResponse extends ServerResponse {
  readonly #parts: Buffer[] = [];
  #over = false;

  override write(chunk: unknown): boolean {
    if (typeof chunk === "string" || chunk instanceof Uint8Array) this.#parts.push(Buffer.from(chunk as string));
    return true;
  }

  override end(chunk?: unknown): this {
    if (this.#over) return this;
    this.#over = true;
    this.write(chunk);
    this.emit("finish");
    this.emit("close");
    return this;
  }

  toResponse(method: string): Response {
    const headers = new Headers();
    for (const [name, value] of Object.entries(this.getHeaders())) {
      for (const each of Array.isArray(value) ? value : [String(value)]) headers.append(name, each);
    }
    const empty = method === "HEAD" || this.statusCode === 204 || this.statusCode === 304;
    return new Response(empty ? null : Buffer.concat(this.#parts), { status: this.statusCode, headers });
  }
}
