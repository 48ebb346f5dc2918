import { IncomingMessage, ServerResponse } from "node:http";
import { Duplex } from "node:stream";
import { publicUrl } from "#env";
import { isDatabaseAway, RETRY_AFTER_SECONDS } from "../platform/away.ts";
import { log } from "../platform/log.ts";
import { awayPage, busyPage } from "./error-page.ts";
import { AWAY, authorizationServer, PATHS } from "./provider.ts";
import { countOAuthRequest } from "./rate-limit.ts";
import { type SignedIn, signedInOn } from "./sign-in.ts";

/**
 * oidc-provider is a Koa application and speaks node's requests and responses;
 * Next's route handlers speak the web's. OAuth's bodies are small, so both are
 * buffered.
 */

const LARGEST_BODY_BYTES = 64 * 1024;

/**
 * Answers one request to the authorization server. `person` finds out who is signed in, when the
 * request comes from a browser. `address`: where it comes from. While the database is away it is 503.
 */
export async function answerOAuth(
  request: Request,
  from: { person: SignedIn | null | (() => Promise<SignedIn | null>); address: string },
): Promise<Response> {
  try {
    const person = typeof from.person === "function" ? await from.person() : from.person;
    return await answerNow(request, { ...from, person });
  } catch (error) {
    if (!isDatabaseAway(error)) throw error;
    log.warn("the database was away for the authorization server", { error });
    return away(new URL(request.url).pathname);
  }
}

async function answerNow(request: Request, from: { person: SignedIn | null; address: string }): Promise<Response> {
  const { pathname } = new URL(request.url);
  const method = request.method;
  const allowed = METHODS.get(pathname);
  if (allowed !== undefined && !allowed.includes(method))
    return new Response(null, { status: 405, headers: { allow: allowed.join(", "), "cache-control": "no-store" } });
  const wait = method === "OPTIONS" ? null : await countOAuthRequest(pathname, from.address);
  if (wait !== null) return tooMany(pathname, wait);
  const { provider } = await authorizationServer();
  const body = method === "POST" ? await readBody(request) : null;
  if (body === "too_large") return new Response(null, { status: 413, headers: { "cache-control": "no-store" } });

  const stale = await forSomebodyElse(pathname, from.person?.userId ?? null);
  if (stale !== null) return new Response(null, { status: 303, headers: { location: stale, "cache-control": "no-store" } });

  const incoming = nodeRequest(request, body);
  if (from.person !== null) signedInOn.set(incoming, from.person);
  const outgoing = new BufferedResponse(incoming);
  void provider.callback()(incoming, outgoing);
  await outgoing.ended;
  return outgoing.toResponse(method);
}

const METHODS: ReadonlyMap<string, string[]> = new Map<string, string[]>([
  [PATHS.authorize, ["GET", "HEAD"]],
  [PATHS.token, ["POST", "OPTIONS"]],
  [PATHS.userinfo, ["GET", "POST", "OPTIONS"]],
  [PATHS.revoke, ["POST", "OPTIONS"]],
  [PATHS.introspect, ["POST", "OPTIONS"]],
]);

/**
 * Between a decision and the redirect that carries it out somebody else may have
 * signed in, in another tab. Then what the first person decided is forgotten, and
 * the one who is there now is asked.
 */
async function forSomebodyElse(pathname: string, userId: string | null): Promise<string | null> {
  const uid = pathname.startsWith(`${PATHS.authorize}/`) ? pathname.slice(PATHS.authorize.length + 1) : "";
  if (uid === "") return null;
  const { provider } = await authorizationServer();
  const interaction = await provider.Interaction.find(uid);
  const decidedBy = interaction?.result?.login?.accountId;
  if (interaction === undefined || decidedBy === undefined || decidedBy === userId) return null;
  interaction.result = undefined;
  await interaction.persist();
  return `/connect/${uid}`;
}

/** RFC 6749 has a name for it. A browser is not sent on: whether the address is the app's stands in the database. */
function away(pathname: string): Response {
  const headers = { "retry-after": String(RETRY_AFTER_SECONDS), "cache-control": "no-store" };
  if (pathname.startsWith(PATHS.authorize))
    return new Response(awayPage(), { status: 503, headers: { ...headers, "content-type": "text/html; charset=utf-8" } });
  return Response.json(AWAY, {
    status: 503,
    headers: { ...headers, "access-control-allow-origin": "*", "access-control-expose-headers": "retry-after" },
  });
}

function tooMany(pathname: string, seconds: number): Response {
  const headers = { "retry-after": String(seconds), "cache-control": "no-store" };
  if (pathname !== PATHS.token) {
    return new Response(busyPage(seconds), { status: 429, headers: { ...headers, "content-type": "text/html; charset=utf-8" } });
  }
  const body = { error: "temporarily_unavailable", error_description: `Too many requests from this address; wait ${seconds} s.` };
  // It tells nothing, so that any app in a browser may read why it has to wait.
  return Response.json(body, {
    status: 429,
    headers: { ...headers, "access-control-allow-origin": "*", "access-control-expose-headers": "retry-after" },
  });
}

/** A node request as Koa needs it, for a web request or just its head. */
export function nodeRequest(request: { url: string; method: string; headers: Headers }, body: Buffer | null): IncomingMessage {
  const { pathname, search } = new URL(request.url);
  const socket = Object.assign(new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() }), {
    // Whoever ends TLS for us does so under the public address.
    encrypted: publicUrl().startsWith("https:"),
    remoteAddress: "127.0.0.1",
  });
  const incoming = new IncomingMessage(socket as never);
  incoming.method = request.method;
  incoming.url = pathname + search;
  incoming.httpVersion = "1.1";
  for (const [name, value] of request.headers) incoming.headers[name] = value;
  incoming.headers.host = new URL(publicUrl()).host;
  delete incoming.headers["transfer-encoding"];
  if (body !== null) {
    incoming.headers["content-length"] = String(body.length);
    incoming.push(body);
  }
  incoming.push(null);
  incoming.complete = true;
  return incoming;
}

/** Keeps what is written to it. */
export class BufferedResponse extends ServerResponse {
  readonly ended: Promise<void>;
  readonly #parts: Buffer[] = [];
  #finish: () => void = () => {};
  #over = false;

  constructor(incoming: IncomingMessage) {
    super(incoming);
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

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
    this.#finish();
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

async function readBody(request: Request): Promise<Buffer | "too_large"> {
  if (Number(request.headers.get("content-length") ?? 0) > LARGEST_BODY_BYTES) return "too_large";
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of request.body ?? []) {
    size += part.length;
    if (size > LARGEST_BODY_BYTES) return "too_large";
    parts.push(part);
  }
  return Buffer.concat(parts);
}
