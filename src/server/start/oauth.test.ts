import { once } from "node:events";
import type { Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { NextConfig } from "next";
import { PHASE_PRODUCTION_SERVER } from "next/constants.js";
import { afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { env } from "#env";
import { asTheDatabase, withDatabase } from "../../testing/database.ts";
import { makeApp, makeUser } from "../../testing/makers.ts";
import { authorizationServer, PATHS } from "../connect/provider.ts";
import { oauthRoute } from "../http/oauth.ts";
import { processWide } from "../platform/process-wide.ts";
import { mintSecret } from "../platform/secrets.ts";
import { createQuotaServer, type ServerLimits } from "./listen.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

let client: { id: string; basic: string };
let authorize: string;
beforeAll(async () => {
  const { secret, hash } = mintSecret("quota_secret_");
  const app = await makeApp(db());
  await db().prisma.app.update({ where: { id: app.id }, data: { clientSecretHash: hash } });
  client = { id: app.clientId, basic: `Basic ${btoa(`${app.clientId}:${secret}`)}` };
  const query = new URLSearchParams({
    client_id: app.clientId,
    redirect_uri: "http://localhost:4000/callback",
    response_type: "code",
    state: "the-state",
    code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    code_challenge_method: "S256",
  });
  authorize = `${PATHS.authorize}?${query}`;
});
afterEach(() => {
  vi.restoreAllMocks();
});

const PATIENT: ServerLimits = {
  headMs: 60_000,
  requestMs: 60_000,
  bodyIdleMs: 60_000,
  idleMs: 60_000,
  checkEveryMs: 20,
  mostConnections: 1_000,
  mostPendingPerAddress: null,
  graceMs: 0,
};

/** A server for one test, whose pages answer 299. */
async function serve(limits: Partial<ServerLimits> = {}): Promise<Server> {
  const pages = { handle: async (_in: unknown, outgoing: { writeHead(status: number): { end(): void } }) => outgoing.writeHead(299).end() };
  const server = createQuotaServer({ find: () => null }, pages as never, { ...PATIENT, ...limits });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return server;
}

function dial(server: Server): { socket: Socket; closed: Promise<string>; said: (words: string) => Promise<void> } {
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  let text = "";
  socket.setEncoding("latin1").on("data", (part) => {
    text += part;
    socket.emit("said");
  });
  // After a reset "close" follows.
  socket.on("error", () => {});
  return {
    socket,
    closed: new Promise((resolve) => socket.once("close", () => resolve(text))),
    async said(words) {
      while (!text.includes(words)) await once(socket, "said");
    },
  };
}

/** Everything that the server sends after these bytes until it closes the connection. */
async function say(server: Server, bytes: string): Promise<string> {
  const { socket, closed } = dial(server);
  socket.write(bytes);
  return closed;
}

const CLOSE = "connection: close\r\n";
const head = (method: string, target: string, more = "") => `${method} ${target} HTTP/1.1\r\nhost: localhost:3000\r\n${more}`;
const get = (target: string, more = "") => `${head("GET", target, more)}\r\n`;
const FORM = "content-type: application/x-www-form-urlencoded\r\n";
const post = (target: string, form: string, more = "") =>
  `${head("POST", target, more)}${FORM}content-length: ${Buffer.byteLength(form)}\r\n\r\n${form}`;
const chunked = (target: string, form: string, more = "") =>
  `${head("POST", target, more)}${FORM}transfer-encoding: chunked\r\n\r\n${form.length.toString(16)}\r\n${form}\r\n0\r\n\r\n`;
const refusedToken = (more = "") => post(PATHS.token, "grant_type=authorization_code&code=x", `authorization: ${client.basic}\r\n${more}`);
const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));

type Said = { status: number; headers: Headers; body: string };

/** One request over a new connection. */
async function ask(server: Server, bytes: string): Promise<Said> {
  const text = await say(server, bytes);
  const end = text.indexOf("\r\n\r\n");
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = new Headers(lines.map((line): [string, string] => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  return { status: Number(first.split(" ")[1]), headers, body: text.slice(end + 4) };
}

describe("bodies", () => {
  test("that stop arriving are refused with 408, and the connection is closed", async () => {
    const server = await serve({ bodyIdleMs: 50 });
    for (const more of [
      "content-length: 50\r\n\r\n",
      "content-length: 50\r\n\r\ngrant",
      "transfer-encoding: chunked\r\n\r\n3\r\nfoo\r\n",
    ]) {
      const { status, headers, body } = await ask(server, head("POST", PATHS.token, FORM + more));
      expect([status, headers.get("connection"), JSON.parse(body).error]).toEqual([408, "close", "invalid_request"]);
    }
  });

  test("of more than 64 KiB are refused with 413 while the client still sends, and the connection takes another request", async () => {
    const server = await serve();
    const large = `a=${"x".repeat(3 * 1024 * 1024)}`;
    for (const request of [post(PATHS.token, large), chunked(PATHS.token, large), chunked(PATHS.userinfo, large)])
      expect(statuses(await say(server, request + refusedToken(CLOSE)))).toEqual([413, 400]);
  });

  test("of up to 64 KiB are read whole, with Content-Length or in chunks", async () => {
    const server = await serve();
    const form = `grant_type=authorization_code&code=${"x".repeat(50 * 1024)}`;
    for (const request of [post, chunked])
      expect(JSON.parse((await ask(server, request(PATHS.token, form, `authorization: ${client.basic}\r\n${CLOSE}`))).body)).toMatchObject({
        error: "invalid_request",
        error_description: "missing required parameter 'redirect_uri'",
      });
  });

  test("are read before a transaction begins", async () => {
    const server = await serve();
    const { socket, closed } = dial(server);
    const taken = once(server, "request");
    socket.write(`${head("POST", PATHS.token, FORM)}${CLOSE}content-length: 5\r\n\r\nab`);
    await taken;
    // The embedded database runs one transaction at a time: these would wait for a transaction of the request.
    for (let count = 0; count < 5; count++) await makeUser(db());
    socket.write("=cd");
    expect(statuses(await closed)).toEqual([400]);
  });
});

describe("a connection", () => {
  test("takes another request after each kind of answer", async () => {
    const server = await serve();
    const requests: [bytes: string, status: number][] = [
      [refusedToken(), 400],
      [post(PATHS.token, "grant_type=x", `authorization: Basic ${btoa("a:b")}\r\n`), 401],
      [get(PATHS.token), 405],
      [post(PATHS.authorize, "a=b"), 405],
      [get(authorize), 303],
      [get(`${PATHS.authorize}?client_id=nobody`), 400],
      [get(PATHS.userinfo), 401],
      [get("/oauth/nothing"), 404],
      [get(PATHS.authorize, "content-length: 3\r\n").concat("abc"), 400],
      [get(PATHS.jwks), 200],
      [post(PATHS.token, "x", "content-type: text/plain\r\n"), 400],
    ];
    const text = await say(server, requests.map(([bytes]) => bytes).join("") + refusedToken(CLOSE));
    expect(statuses(text)).toEqual([...requests.map(([, status]) => status), 400]);
  });

  test("whose client hangs up in a body, or before its answer, causes no log line, and other clients are answered", async () => {
    const server = await serve();
    const written = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const whole = refusedToken();
    for (const bytes of [whole.slice(0, -5), chunked(PATHS.token, "a=b").slice(0, -8), whole, get(authorize)]) {
      const ended = new Promise((resolve) => server.once("request", (_incoming, outgoing) => outgoing.once("close", resolve)));
      const { socket } = dial(server);
      socket.write(bytes, () => socket.resetAndDestroy());
      await ended;
    }
    // A reset during oidc-provider's work on the answer.
    const { provider } = await authorizationServer();
    const reset = new Promise<Socket>((resolve) => server.once("request", ({ socket }) => resolve(socket)));
    vi.spyOn(provider.Client, "find").mockImplementationOnce(async () => {
      const socket = (await reset).destroy(new Error("read ECONNRESET"));
      await once(socket, "close").catch(() => {});
      return undefined;
    });
    expect(await say(server, get(authorize))).toBe("");
    expect(statuses(await say(server, refusedToken(CLOSE)))).toEqual([400]);
    expect(written.mock.calls.map(([line]) => String(line))).toEqual([]);
  });

  test("with a request under way is closed after its answer when the server is closing", async () => {
    const server = await serve();
    const { socket, closed, said } = dial(server);
    const taken = once(server, "request");
    const request = refusedToken();
    socket.write(request.slice(0, -5));
    await taken;
    const end = new Promise((resolve) => server.close(resolve));
    server.closeIdleConnections();
    socket.write(request.slice(-5));
    await said("redirect_uri");
    // A server that stops calls this repeatedly.
    server.closeIdleConnections();
    expect(statuses(await closed)).toEqual([400]);
    await end;
  });
});

describe("methods", () => {
  test("HEAD is answered as GET without the body", async () => {
    const server = await serve();
    for (const target of [`${PATHS.authorize}?client_id=nobody`, PATHS.jwks, PATHS.metadata, PATHS.openIdConfiguration]) {
      const [whole, without] = [await ask(server, get(target, CLOSE)), await ask(server, `${head("HEAD", target, CLOSE)}\r\n`)];
      const length = String(Buffer.byteLength(whole.body, "latin1"));
      expect([without.status, without.headers.get("content-length"), without.body]).toEqual([whole.status, length, ""]);
    }
  });

  test("other methods are 405 with Allow", async () => {
    const server = await serve();
    for (const [target, allow] of [
      [PATHS.authorize, "GET, HEAD"],
      [PATHS.token, "POST, OPTIONS"],
      [PATHS.revoke, "POST, OPTIONS"],
      [PATHS.jwks, "GET, HEAD, OPTIONS"],
      [PATHS.metadata, "GET, HEAD, OPTIONS"],
    ]) {
      for (const method of ["PUT", "DELETE", "PATCH"]) {
        const { status, headers } = await ask(server, `${head(method, target as string, CLOSE)}\r\n`);
        expect([target, status, headers.get("allow")]).toEqual([target, 405, allow]);
      }
    }
  });

  test("OPTIONS answers CORS preflights, except for /oauth/authorize", async () => {
    const server = await serve();
    const preflight = (target: string, method: string) =>
      ask(server, `${head("OPTIONS", target, CLOSE)}origin: https://app.example\r\naccess-control-request-method: ${method}\r\n\r\n`);
    for (const [target, method] of [
      [PATHS.token, "POST"],
      [PATHS.revoke, "POST"],
      [PATHS.metadata, "GET"],
      [PATHS.jwks, "GET"],
    ] as const) {
      const { status, headers } = await preflight(target, method);
      const allowed = [headers.get("access-control-allow-origin"), headers.get("access-control-allow-methods")];
      expect([target, status, ...allowed]).toEqual([target, 204, "https://app.example", method]);
    }
    const refused = await preflight(PATHS.authorize, "GET");
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([405, null]);
  });
});

/** The headers that Next would set on a path. */
async function headersOfNext(path: string): Promise<Record<string, string>> {
  const file = new URL("../../../next.config.js", import.meta.url).href;
  const { default: config } = (await import(file)) as { default: (phase: string) => NextConfig };
  const rules = (await config(PHASE_PRODUCTION_SERVER).headers?.()) ?? [];
  const ours = rules.filter(({ source }) =>
    source === "/:path(connect|oauth|checkout)/:rest*" ? path.startsWith("/oauth/") : !source.startsWith("/_next/static/"),
  );
  return Object.fromEntries(ours.flatMap(({ headers }) => headers.map(({ key, value }) => [key.toLowerCase(), value])));
}

describe("every answer", () => {
  test("has the headers that pages under its path have: redirects, OAuth errors, refused bodies, exceptions, metadata", async () => {
    const server = await serve({ bodyIdleMs: 50 });
    const seen = new Set<number>();
    const check = async (target: string, bytes: string) => {
      const { status, headers } = await ask(server, bytes);
      seen.add(status);
      expect({ target, status, ...Object.fromEntries(headers) }).toMatchObject({ target, status, ...(await headersOfNext(target)) });
    };
    for (const target of [authorize, `${PATHS.authorize}?client_id=nobody`, PATHS.token, "/oauth/nothing", PATHS.jwks, PATHS.metadata])
      await check(target, get(target, CLOSE));
    await check(PATHS.token, refusedToken(CLOSE));
    await check(PATHS.token, post(PATHS.token, "x".repeat(70_000), CLOSE));
    await check(PATHS.token, head("POST", PATHS.token, `${FORM}content-length: 9\r\n\r\n`));

    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const { provider } = await authorizationServer();
    vi.spyOn(provider.Interaction, "find").mockRejectedValue(new Error("before oidc-provider"));
    await check(`${PATHS.authorize}/x`, get(`${PATHS.authorize}/x`, CLOSE));
    const { parse } = URL;
    vi.spyOn(URL, "parse").mockImplementation((url, base) => {
      if (String(url).startsWith("/connect/")) throw new Error("in a middleware");
      return parse(url, base);
    });
    await check(authorize, get(authorize, CLOSE));
    expect([...seen].sort()).toEqual([200, 303, 400, 404, 405, 408, 413, 500]);
  });

  test("is the same as from the routes for plain `next start`, apart from those headers", async () => {
    const server = await serve();
    const route = oauthRoute(async () => null);
    const varying = /"state"|[\w-]{43}|\/connect\/[\w-]+|authorize\/[\w-]+|quota_oauth_\w+(?:\.sig)?=[\w-]+|expires=[^;]+/g;
    for (const [method, target, form, more] of [
      ["GET", authorize],
      ["HEAD", authorize],
      ["GET", `${authorize}&prompt=none`],
      ["GET", `${PATHS.authorize}?client_id=nobody`],
      ["GET", PATHS.metadata],
      ["GET", PATHS.token],
      ["OPTIONS", PATHS.token, undefined, { origin: "https://app.example", "access-control-request-method": "POST" }],
      ["POST", PATHS.token, "grant_type=authorization_code&code=x", { authorization: client.basic }],
      ["POST", PATHS.token, "x".repeat(70_000)],
      ["POST", PATHS.introspect, "token=x", { authorization: client.basic }],
    ] as [string, string, string?, Record<string, string>?][]) {
      const headers = { ...more, ...(form === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" }) };
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      const length = form === undefined ? "" : `content-length: ${form.length}\r\n`;
      const atSocket = await ask(server, `${head(method, target, lines.join(""))}${CLOSE}${length}\r\n${form ?? ""}`);
      const inRoute = await route(new Request(`http://localhost:3000${target}`, { method, headers, body: form ?? null }));
      const ofNext = await headersOfNext(target);
      const rest = (all: Headers) =>
        [...all]
          .filter(([name, value]) => !["connection", "date", "content-length"].includes(name) && ofNext[name] !== value)
          .map((each) => each.join(": ").replace(varying, "…"));
      expect([target, atSocket.status, rest(atSocket.headers)]).toEqual([target, inRoute.status, rest(inRoute.headers)]);
      const body = Buffer.from(await inRoute.arrayBuffer()).toString("latin1");
      expect(atSocket.body.replace(varying, "…")).toBe(body.replace(varying, "…"));
    }
  });

  test("has URLs below QUOTA_URL whatever the request's host and scheme; with https also HSTS and secure cookies", async () => {
    const { QUOTA_URL } = env;
    const made = processWide("authorization server", (): { server?: unknown } => ({}));
    Object.assign(env, { QUOTA_URL: "https://quota.example" });
    made.server = undefined;
    try {
      const server = await serve();
      const forged = `${CLOSE}x-forwarded-proto: http\r\nx-forwarded-host: evil.example\r\n`;
      const metadata = JSON.parse((await ask(server, get(PATHS.metadata, forged))).body);
      expect([metadata.issuer, metadata.token_endpoint]).toEqual(["https://quota.example", "https://quota.example/oauth/token"]);

      const moved = await ask(server, get(authorize, CLOSE));
      expect([moved.status, moved.headers.get("location")]).toEqual([307, `https://quota.example${authorize}`]);
      const there = await ask(server, get(authorize, forged).replace("localhost:3000", "quota.example"));
      expect([there.status, there.headers.get("strict-transport-security")]).toEqual([303, "max-age=31536000"]);
      const cookies = there.headers.getSetCookie();
      expect(cookies).toHaveLength(4);
      for (const cookie of cookies) expect(cookie).toMatch(/; secure; httponly$/);
    } finally {
      Object.assign(env, { QUOTA_URL });
      made.server = undefined;
    }
  });
});

test("a path that is not exactly one of the authorization server's goes to the pages", async () => {
  const server = await serve();
  for (const target of ["/oauth", "/oauth/", "/oauth/token/", "//oauth/token", "/oauth//token", "/oauth/%74oken", "/oauth/../oauth/token"])
    expect([target, (await ask(server, get(target, CLOSE))).status]).toEqual([target, 299]);
  for (const target of ["/.well-known/security.txt", "/.well-known/jwks.json/", "/oauthx/token", "/connect/x"])
    expect([target, (await ask(server, get(target, CLOSE))).status]).toEqual([target, 299]);
});
