import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { NextRequest } from "next/server.js";
import { createQuotaMiddleware } from "../../packages/nextjs/src/middleware.ts";
import { createQuotaRouteHandlers } from "../../packages/nextjs/src/route-handlers.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { type Client, makeClient, makePerson, originOf, type Person, Visitor } from "../oauth.ts";

const APP = "http://localhost:4000";

/** An app with the SDK's middleware, and a browser that visits it as the user `user`. */
async function app(server: PostgresServer, options: { anonymous?: boolean; client?: Client; serverUrl?: string } = {}) {
  const client = options.client ?? (await makeClient(server.db, { redirectUris: [`${APP}/api/quota/callback`] }));
  const config = {
    clientId: client.clientId,
    clientSecret: client.secret,
    apiKey: client.key,
    baseUrl: originOf(server),
    serverUrl: options.serverUrl,
    storageMode: "hosted" as const,
    ...(options.anonymous === true ? {} : { getExternalUserId: async (request: Request) => request.headers.get("x-test-user") }),
  };
  const middleware = createQuotaMiddleware(config);
  const browser = () => {
    const cookies = new Map<string, string>();
    const visit = async (path: string, init: { user?: string; method?: string; headers?: Record<string, string>; body?: string } = {}) => {
      const request = new NextRequest(new URL(path, APP), {
        method: init.method ?? "GET",
        headers: {
          host: "localhost:4000",
          cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; "),
          ...(init.user === undefined ? {} : { "x-test-user": init.user }),
          ...init.headers,
        },
        ...(init.body === undefined ? {} : { body: init.body }),
      });
      const response = await middleware(request);
      for (const line of response.headers.getSetCookie()) {
        const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
        if (/Max-Age=0/.test(line)) cookies.delete(name);
        else cookies.set(name, value);
      }
      return { status: response.status, headers: response.headers, location: response.headers.get("location") ?? "", response };
    };
    const post = (path: string, init: Parameters<typeof visit>[1] = {}) =>
      visit(path, { method: "POST", ...init, headers: { origin: APP, ...init.headers } });
    return { cookies, visit, post };
  };
  return { client, config, browser };
}

/** The address to which Quota returns after consent. */
async function consented(server: PostgresServer, person: Person, location: string): Promise<URL> {
  const visitor = new Visitor(server);
  await visitor.signIn(person);
  return visitor.decide(await visitor.begin(location));
}

const errorOf = (location: string) => new URL(location).searchParams.get("quota_error");
const json = (response: Response) => response.json() as Promise<Record<string, never>>;

test("a callback is accepted only with a state that this browser began, and only once", async ({ postgresServer: server }) => {
  const { browser } = await app(server);
  const [victim, attacker] = [browser(), browser()];
  const person = await makePerson(server.db);
  const begun = await victim.visit("/api/quota/authorize?return_to=/chat", { user: "ada" });
  const cookie = begun.headers.getSetCookie()[0] as string;
  expect(cookie).toMatch(/^quota_flow_[^=]+=\S+; Path=\/api\/quota; Max-Age=600; HttpOnly; SameSite=Lax$/);
  const back = await consented(server, person, begun.location);
  const callback = (over: Record<string, string> = {}) => {
    const url = new URL(back);
    for (const [name, value] of Object.entries(over)) url.searchParams.set(name, value);
    return url.pathname + url.search;
  };

  // Another browser has no cookie for this state, a forged state has no cookie, and a forged cookie has no valid signature.
  expect(errorOf((await attacker.visit(callback(), { user: "ada" })).location)).toBe("invalid_state");
  expect(errorOf((await victim.visit(callback({ state: `${back.searchParams.get("state")}x` }), { user: "ada" })).location)).toBe(
    "invalid_state",
  );
  const [name = "", value = ""] = [...victim.cookies][0] ?? [];
  const forged = browser();
  forged.cookies.set(
    name,
    value.replace(/^./, (first) => (first === "x" ? "y" : "x")),
  );
  expect(errorOf((await forged.visit(callback(), { user: "ada" })).location)).toBe("invalid_state");
  // A cookie of another state is not accepted.
  const swapped = browser();
  swapped.cookies.set("quota_flow_another", value);
  expect(errorOf((await swapped.visit(callback({ state: "another" }), { user: "ada" })).location)).toBe("invalid_state");

  const kept = new Map(victim.cookies);
  const done = await victim.visit(callback(), { user: "ada" });
  expect([done.status, done.location]).toEqual([303, `${APP}/chat`]);
  expect([...victim.cookies.keys()]).toEqual(["external_user_id"]);
  // The same address again: the cookie was deleted, and with a copy of it the code was used already.
  expect(errorOf((await victim.visit(callback(), { user: "ada" })).location)).toBe("invalid_state");
  const replayed = browser();
  for (const [each, text] of kept) replayed.cookies.set(each, text);
  expect(errorOf((await replayed.visit(callback(), { user: "ada" })).location)).toBe("invalid_grant");
  expect(replayed.cookies.has("external_user_id")).toBe(false);
});

test("a callback from another issuer, for another user, or without a code makes no link", async ({ postgresServer: server }) => {
  const { browser, client } = await app(server);
  const person = await makePerson(server.db);
  for (const [over, user, problem] of [
    [{ iss: "https://evil.example" }, "ada", "invalid_issuer"],
    [{ iss: null }, "ada", "invalid_issuer"],
    [{}, "bob", "user_changed"],
    [{ code: null }, "ada", "invalid_request"],
    [{ error: "access_denied" }, "ada", "access_denied"],
  ] as const) {
    const tab = browser();
    const begun = await tab.visit("/api/quota/authorize?return_to=/chat", { user: "ada" });
    const back = await consented(server, person, begun.location);
    for (const [name, value] of Object.entries(over)) {
      if (value === null) back.searchParams.delete(name);
      else back.searchParams.set(name, value);
    }
    const done = await tab.visit(back.pathname + back.search, { user });
    expect([new URL(done.location).pathname, errorOf(done.location)]).toEqual(["/chat", problem]);
    expect(tab.cookies.size).toBe(0);
  }
  expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
});

test("between containers the app sends requests to serverUrl, and accepts only the public address as issuer", async ({
  postgresServer: server,
}) => {
  const asked: string[] = [];
  const inside = createServer((incoming, outgoing) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    const { hostname, port } = new URL(server.url);
    const on = request({ hostname, port, method: incoming.method, path: incoming.url, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode as number, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(on);
  });
  await new Promise<void>((resolve) => inside.listen(0, "127.0.0.1", resolve));
  try {
    const serverUrl = `http://127.0.0.1:${(inside.address() as AddressInfo).port}`;
    const { browser } = await app(server, { serverUrl });
    const tab = browser();
    const person = await makePerson(server.db);
    const begun = await tab.visit("/api/quota/authorize?return_to=/chat", { user: "ada" });
    expect(new URL(begun.location).origin).toBe(originOf(server));
    const back = await consented(server, person, begun.location);
    expect(back.searchParams.get("iss")).toBe(originOf(server));
    const other = new URL(back);
    other.searchParams.set("iss", serverUrl);
    const kept = new Map(tab.cookies);
    expect(errorOf((await tab.visit(other.pathname + other.search, { user: "ada" })).location)).toBe("invalid_issuer");
    for (const [name, value] of kept) tab.cookies.set(name, value);
    expect((await tab.visit(back.pathname + back.search, { user: "ada" })).location).toBe(`${APP}/chat`);
    expect(await json((await tab.visit("/api/quota/status", { user: "ada" })).response)).toMatchObject({
      connected: true,
      walletUrl: `${originOf(server)}/wallet`,
    });
    expect(asked).toEqual(["POST /oauth/token", "GET /v1/users/ada"]);
  } finally {
    inside.closeAllConnections();
    inside.close();
  }
});

test("return_to never leads to another site", async ({ postgresServer: server }) => {
  const { browser } = await app(server);
  const person = await makePerson(server.db);
  const evil = [
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/%09/evil.example\n",
    "https:evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "http://localhost:4000@evil.example/",
    "http://localhost:4000.evil.example/",
    "/.//evil.example",
    "/x/..//evil.example",
  ];
  const good = { "/chat?a=1#b": "/chat?a=1#b", "http://localhost:4000/here": "/here", settings: "/settings" };
  const flows = [...evil.map((each) => [each, "/"] as const), ...Object.entries(good)];
  const tab = browser();
  for (const [wanted, expected] of flows) {
    await tab.visit(`/api/quota/authorize?return_to=${encodeURIComponent(wanted)}`, { user: "ada" });
    const flow = [...tab.cookies.values()].at(-1) as string;
    const { returnTo } = JSON.parse(Buffer.from(flow.split(".")[0] as string, "base64url").toString());
    expect([wanted, returnTo]).toEqual([wanted, expected]);
    expect(new URL(returnTo, APP).origin).toBe(APP);
  }
  // The redirect after the callback.
  const begun = await tab.visit("/api/quota/authorize?return_to=https://evil.example/", { user: "ada" });
  const back = await consented(server, person, begun.location);
  expect((await tab.visit(back.pathname + back.search, { user: "ada" })).location).toBe(`${APP}/`);
});

test("another user's external_user_id cookie, forged or stolen, opens no wallet", async ({ postgresServer: server }) => {
  const { browser, client, config } = await app(server);
  const connect = async (user: string) => {
    const tab = browser();
    const person = await makePerson(server.db);
    const begun = await tab.visit("/api/quota/authorize", { user });
    const back = await consented(server, person, begun.location);
    await tab.visit(back.pathname + back.search, { user });
    return { tab, person, cookie: tab.cookies.get("external_user_id") as string };
  };
  const ada = await connect("ada");
  expect(await json((await ada.tab.visit("/api/quota/me", { user: "ada" })).response)).toMatchObject({
    user: { externalUserId: "ada", email: ada.person.email, balance: 1_000_000 },
  });

  // Bob with Ada's valid cookie: the app's session decides.
  const bob = browser();
  bob.cookies.set("external_user_id", ada.cookie);
  expect((await bob.visit("/api/quota/me", { user: "bob" })).status).toBe(401);
  expect(await json((await bob.visit("/api/quota/status", { user: "bob" })).response)).toMatchObject({ connected: false, user: null });
  expect(bob.cookies.has("external_user_id")).toBe(false);
  bob.cookies.set("external_user_id", ada.cookie);
  expect(await json((await bob.post("/api/quota/disconnect", { user: "bob" })).response)).toEqual({ success: true });
  expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId, externalUserId: "ada" } })).toBe(1);
  // The middleware removes the cookie from requests for pages.
  bob.cookies.set("external_user_id", ada.cookie);
  bob.cookies.set("theme", "dark");
  const passed = await bob.visit("/", { user: "bob" });
  expect(passed.headers.get("x-middleware-next")).toBe("1");
  expect(passed.headers.get("x-middleware-request-cookie")).toBe("theme=dark");
  expect(bob.cookies.has("external_user_id")).toBe(false);

  // In an app without sessions, the cookie's signature decides.
  const anonymous = await app(server, { anonymous: true, client });
  const other = await makeClient(server.db);
  const own = createQuotaRouteHandlers({ ...config, getExternalUserId: undefined, clientId: other.clientId });
  for (const forged of [
    "ada",
    ada.cookie.replace("ada", "bob"),
    ada.cookie.replace(/\.\d+\./, ".9999999999."),
    `${ada.cookie}x`,
    ada.cookie.slice(0, -1),
    "ada.9999999999.",
    `${ada.cookie.split(".").slice(0, 2).join(".")}.${"A".repeat(43)}`,
  ]) {
    const tab = anonymous.browser();
    tab.cookies.set("external_user_id", forged);
    expect([forged, (await tab.visit("/api/quota/me")).status]).toEqual([forged, 401]);
    await tab.visit("/");
    expect(tab.cookies.has("external_user_id"), "a page never sees it").toBe(false);
  }
  const request = new NextRequest(`${APP}/api/quota/me`, { headers: { cookie: `external_user_id=${ada.cookie}` } });
  expect((await own.me(request)).status, "a signature made for another app").toBe(401);
});

test("other sites cannot log out, disconnect or buy for a user", async ({ postgresServer: server }) => {
  const { browser } = await app(server);
  const tab = browser();
  for (const path of ["logout", "disconnect", "checkout"]) {
    for (const headers of [
      { origin: "https://evil.example" },
      { origin: "null" },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      // A program can forge Origin; a browser also sends Sec-Fetch-Site.
      { "sec-fetch-site": "cross-site", origin: APP },
      {},
    ]) {
      const refused = await tab.visit(`/api/quota/${path}`, { method: "POST", user: "ada", headers: headers as Record<string, string> });
      expect([path, headers, refused.status]).toEqual([path, headers, 403]);
    }
    expect((await tab.visit(`/api/quota/${path}`, { user: "ada" })).status).toBe(405);
  }
});

test("without getExternalUserId, the cookie names the user; logging out keeps the link, disconnecting ends it", async ({
  postgresServer: server,
}) => {
  const { browser, client } = await app(server, { anonymous: true });
  const tab = browser();
  const person = await makePerson(server.db);
  const begun = await tab.visit("/api/quota/authorize?return_to=/x");
  const back = await consented(server, person, begun.location);
  expect((await tab.visit(back.pathname + back.search)).location).toBe(`${APP}/x`);
  const link = await server.db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId } });
  expect(await json((await tab.visit("/api/quota/status")).response)).toMatchObject({
    connected: true,
    user: { externalUserId: link.externalUserId, email: person.email },
  });
  const kept = tab.cookies.get("external_user_id") as string;
  expect((await tab.post("/api/quota/logout")).status).toBe(200);
  expect((await tab.visit("/api/quota/me")).status).toBe(401);
  tab.cookies.set("external_user_id", kept);
  expect((await tab.visit("/api/quota/me")).status).toBe(200);
  expect((await tab.post("/api/quota/disconnect")).status).toBe(200);
  tab.cookies.set("external_user_id", kept);
  expect((await tab.visit("/api/quota/me")).status).toBe(401);
  expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
});

test("unfinished attempts are bounded, and attempts in two tabs both complete", async ({ postgresServer: server }) => {
  const { browser } = await app(server);
  const tab = browser();
  const person = await makePerson(server.db);
  const first = await tab.visit("/api/quota/authorize?return_to=/first", { user: "ada" });
  const second = await tab.visit("/api/quota/authorize?return_to=/second", { user: "ada" });
  for (const [begun, path] of [
    [first, "/first"],
    [second, "/second"],
  ] as const) {
    const back = await consented(server, person, begun.location);
    expect((await tab.visit(back.pathname + back.search, { user: "ada" })).location).toBe(APP + path);
  }
  for (let attempt = 0; attempt < 20; attempt++) await tab.visit("/api/quota/authorize", { user: "ada" });
  expect([...tab.cookies.keys()].filter((name) => name.startsWith("quota_flow_"))).toHaveLength(2);
});

test("a visitor who is not signed in to the app is redirected to its sign-in first", async ({ postgresServer: server }) => {
  const { browser } = await app(server);
  const sent = await browser().visit("/api/quota/authorize?return_to=/chat");
  expect([sent.status, sent.location]).toEqual([303, `${APP}/?return_to=%2Fchat`]);
});

test("an error of getExternalUserId counts as no user, and pages still render", async ({ postgresServer: server }) => {
  const { config } = await app(server);
  const silent = console.error;
  const said: unknown[] = [];
  console.error = (...words) => void said.push(words[0]);
  try {
    const middleware = createQuotaMiddleware({
      ...config,
      getExternalUserId: () => {
        throw new TypeError("no session");
      },
    });
    const status = await middleware(new NextRequest(`${APP}/api/quota/status`));
    expect(await json(status)).toMatchObject({ connected: false, signedIn: false });
    const page = await middleware(new NextRequest(APP, { headers: { cookie: "external_user_id=ada.1.x" } }));
    expect(page.headers.get("x-middleware-next")).toBe("1");
    expect(said[0]).toMatch(/nobody is signed in/);
  } finally {
    console.error = silent;
  }
});

test("packages and checkout are requested for the user, who returns to the app", async () => {
  const seen: { path: string | undefined; user: string | undefined; body: string }[] = [];
  const quota = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    seen.push({ path: request.url, user: request.headers["x-quota-user"] as string | undefined, body });
    const answers = { "/v1/packages": { data: [{ id: "usd_5", credits: 5_000_000 }] }, "/v1/checkout": { url: "https://pay.example/1" } };
    response.setHeader("content-type", "application/json").end(JSON.stringify(answers[request.url as keyof typeof answers]));
  });
  await new Promise<void>((resolve) => quota.listen(0, "127.0.0.1", resolve));
  const { GET, POST } = createQuotaRouteHandlers({
    clientId: "quota_client_x",
    clientSecret: "quota_secret_y",
    apiKey: "sk-quota-z",
    baseUrl: `http://127.0.0.1:${(quota.address() as AddressInfo).port}`,
    appUrl: "https://acme.example/",
    getExternalUserId: () => "ada",
  });
  const post = (body: object) =>
    POST(
      new NextRequest("http://internal:8080/api/quota/checkout", {
        method: "POST",
        headers: { origin: "https://acme.example" },
        body: JSON.stringify(body),
      }),
    );
  expect(await json(await GET(new NextRequest("http://internal:8080/api/quota/packages")))).toEqual({
    packages: [{ id: "usd_5", credits: 5_000_000 }],
  });
  expect(await json(await post({ package_id: "usd_5", return_to: "/chat?a=1" }))).toEqual({ url: "https://pay.example/1" });
  await post({ package_id: "usd_5", return_to: "https://evil.example/" });
  expect((await post({ package_id: 5 })).status).toBe(400);
  expect((await GET(new NextRequest("http://internal:8080/api/quota/elsewhere"))).status).toBe(404);
  quota.closeAllConnections();
  quota.close();
  expect(seen.slice(1).map(({ user, body }) => [user, JSON.parse(body)])).toEqual([
    ["ada", { package_id: "usd_5", return_url: "https://acme.example/chat?a=1" }],
    ["ada", { package_id: "usd_5", return_url: "https://acme.example/" }],
  ]);
});
