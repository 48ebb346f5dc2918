import * as oauth from "oauth4webapi";
import * as oidc from "openid-client";
import { call, chat } from "../client.ts";
import type { PostgresServer } from "../fixtures.ts";
import { expect, test } from "../fixtures.ts";
import {
  authorizeUrl,
  type Client,
  codeFor,
  formPost,
  HOSTED,
  makeClient,
  makePerson,
  originOf,
  type Person,
  pkce,
  redeem,
  Visitor,
} from "../oauth.ts";

const INACTIVE = { active: false };

/** Tokens of an app that keeps them itself. */
async function tokens(
  server: PostgresServer,
  scope = "openid email credits.read credits.spend",
  options: { client?: Client; person?: Person } = {},
) {
  const person = options.person ?? (await makePerson(server.db));
  const client = options.client ?? (await makeClient(server.db));
  const issued = await codeFor(server, person, client, { authorize: { scope } });
  const answer = await redeem(server, client, issued);
  expect(answer.status, JSON.stringify(answer.json)).toBe(200);
  return { person, client, issued, ...(answer.json as { access_token: string; refresh_token: string; id_token?: string; scope: string }) };
}

const refresh = (server: PostgresServer, client: Client, refreshToken: string, over: Record<string, string> = {}) =>
  formPost(server, "/oauth/token", client, { grant_type: "refresh_token", refresh_token: refreshToken, ...over });
const introspect = async (server: PostgresServer, client: Client, token: string) =>
  (await formPost(server, "/oauth/introspect", client, { token })).json;
const userinfo = (server: PostgresServer, token: string) =>
  fetch(`${originOf(server)}/oauth/userinfo`, { headers: { authorization: `Bearer ${token}` } });

/** What the server answers to an app's link that nobody has looked at yet. */
async function refused(server: PostgresServer, url: string) {
  const answer = await new Visitor(server).get(url);
  return { status: answer.status, location: answer.headers.get("location"), html: await answer.text() };
}

test.describe("the metadata", () => {
  test("names this server, what it can do, and endpoints that all answer", async ({ postgresServer: server }) => {
    const origin = originOf(server);
    for (const path of ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]) {
      const answer = await fetch(origin + path, { headers: { origin: "https://any.example" } });
      expect(answer.headers.get("access-control-allow-origin")).toBeTruthy();
      const metadata = (await answer.json()) as Record<string, unknown>;
      expect(metadata).toMatchObject({
        issuer: origin,
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        code_challenge_methods_supported: ["S256"],
        grant_types_supported: ["authorization_code", "refresh_token"],
        authorization_response_iss_parameter_supported: true,
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
      });
      expect(metadata.scopes_supported).toEqual(["openid", "profile", "email", "credits.read", "credits.spend"]);
      for (const [name, url] of Object.entries(metadata).filter(([name]) => name.endsWith("_endpoint") || name === "jwks_uri")) {
        const method = /token|introspection|revocation/.test(name) ? "POST" : "GET";
        const { status } = await fetch(String(url), { method, redirect: "manual" });
        expect([200, 400, 401], `${name} answers ${status}`).toContain(status);
      }
    }
    const jwks = (await (await fetch(`${origin}/.well-known/jwks.json`)).json()) as { keys: Record<string, unknown>[] };
    expect(jwks.keys).toHaveLength(1);
    expect(Object.keys(jwks.keys[0] ?? {}).filter((name) => ["d", "p", "q", "dp", "dq", "qi"].includes(name))).toEqual([]);
  });
});

test.describe("an app's link", () => {
  test("with an unknown client or another redirect URI ends on our page and goes nowhere", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db, { redirectUris: ["https://app.example/callback", "http://localhost:4000/callback"] });
    const { challenge } = pkce();
    for (const over of [
      { client_id: "quota_client_nobody" },
      { redirect_uri: undefined },
      { redirect_uri: "https://evil.example/callback" },
      { redirect_uri: "https://app.example/callback/" },
      { redirect_uri: "https://app.example/callback?x=1" },
      { redirect_uri: "https://app.example/callbac%6B" },
      { redirect_uri: "https://APP.example/callback" },
      { redirect_uri: "https://app.example:443/callback" },
      { redirect_uri: "http://localhost:4001/callback" },
    ]) {
      const answer = await refused(server, authorizeUrl(server, client, challenge, over));
      expect(answer, JSON.stringify(over)).toMatchObject({ status: 400, location: null });
      expect(answer.html).toContain("Nothing was shared");
      expect(answer.html).not.toContain("<a ");
    }
  });

  test("with any other fault is explained before anybody is sent on, and prompt=none is told at once", async ({
    postgresServer: server,
  }) => {
    const client = await makeClient(server.db);
    const { challenge } = pkce();
    for (const [over, error] of [
      [{ code_challenge: undefined, code_challenge_method: undefined }, "invalid_request"],
      [{ code_challenge_method: "plain" }, "invalid_request"],
      [{ code_challenge_method: undefined }, "invalid_request"],
      [{ response_type: "token" }, "unsupported_response_type"],
      [{ response_type: "id_token", scope: "openid", nonce: "n" }, "unsupported_response_type"],
      [{ response_mode: "fragment" }, "unsupported_response_mode"],
      [{ response_mode: "form_post" }, "unsupported_response_mode"],
      [{ scope: "nothing.known" }, "invalid_scope"],
    ] as const) {
      const answer = await refused(server, authorizeUrl(server, client, challenge, over));
      expect(answer, JSON.stringify(over)).toMatchObject({ status: 400, location: null });
      expect(answer.html).toContain(error);
    }
    const silent = await refused(server, authorizeUrl(server, client, challenge, { scope: "openid", prompt: "none" }));
    const back = new URL(silent.location as string);
    expect(back.origin + back.pathname).toBe(client.redirectUri);
    expect(Object.fromEntries(back.searchParams)).toMatchObject({ error: "login_required", state: "the-state", iss: originOf(server) });
  });

  test("is never answered with CORS", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const answer = await new Visitor(server).get(authorizeUrl(server, client, pkce().challenge), { origin: "http://localhost:4000" });
    expect([...answer.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
  });
});

test.describe("the consent page", () => {
  test("can't be framed, sends no referrer, and loads nothing from elsewhere", async ({ postgresServer: server }) => {
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const client = await makeClient(server.db);
    await server.db.prisma.app.update({ where: { id: client.appId }, data: { logoUrl: "https://elsewhere.example/logo.png" } });
    const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
    const answer = await visitor.get(page);
    expect(answer.headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
    expect(answer.headers.get("x-frame-options")).toBe("DENY");
    expect(answer.headers.get("referrer-policy")).toBe("no-referrer");
    expect(answer.headers.get("cache-control")).toContain("no-store");
    expect(answer.headers.get("content-security-policy")).toContain("img-src 'self' data:;");
    expect([...(await answer.text()).matchAll(/(?:src|href)="(https?:)?\/\//g)]).toEqual([]);
  });

  test("asks who is signed out to sign in first", async ({ postgresServer: server }) => {
    const visitor = new Visitor(server);
    const page = await visitor.begin(authorizeUrl(server, await makeClient(server.db), pkce().challenge));
    expect((await visitor.get(page)).headers.get("location")).toBe(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
    const answer = await visitor.post(`${page}/decision`, { decision: "allow" });
    expect(answer.headers.get("location")).toBe(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
  });

  test("takes an answer only with its own form, from the browser that began, for the person it was shown to", async ({
    postgresServer: server,
  }) => {
    const [victim, attacker] = [await makePerson(server.db), await makePerson(server.db)];
    const client = await makeClient(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(victim);
    const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
    const decision = `${page}/decision`;
    const allow = { decision: "allow", limited: "no" };
    const token = await visitor.token(page);

    for (const [form, headers] of [
      [allow, {}],
      [{ ...allow, token: "x".repeat(43) }, {}],
      [{ ...allow, token }, { "sec-fetch-site": "cross-site" }],
      [{ ...allow, token }, { origin: "https://evil.example" }],
    ] as const) {
      const answer = await visitor.post(decision, form, headers);
      expect(answer.status).toBe(303);
      expect(answer.headers.get("location")).toBe(`${page}?again=1`);
    }
    // Another browser has no cookie of this request, whoever is signed in there.
    const elsewhere = new Visitor(server);
    await elsewhere.signIn(attacker);
    expect(await (await elsewhere.get(page)).text()).toContain("This request is over");
    expect((await elsewhere.post(decision, { ...allow, token })).headers.get("location")).toBe(page);
    // A token of another request of the same person.
    const other = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
    expect((await visitor.post(decision, { ...allow, token: await visitor.token(other) })).headers.get("location")).toBe(`${page}?again=1`);
    // Somebody else signs in while the page is open.
    await visitor.signIn(attacker);
    expect((await visitor.post(decision, { ...allow, token })).headers.get("location")).toBe(`${page}?again=1`);
    expect(
      await server.db.prisma.oAuthRecord.count({ where: { kind: "Grant", payload: { path: ["accountId"], equals: victim.id } } }),
    ).toBe(0);
  });

  test("gives the grant to whoever is signed in when it is carried out", async ({ postgresServer: server }) => {
    const [first, second] = [await makePerson(server.db), await makePerson(server.db)];
    const client = await makeClient(server.db);
    const { verifier, challenge } = pkce();
    const visitor = new Visitor(server);
    await visitor.signIn(first);
    const page = await visitor.begin(authorizeUrl(server, client, challenge));
    const decided = await visitor.post(`${page}/decision`, { decision: "allow", limited: "no", token: await visitor.token(page) });
    await visitor.signIn(second);
    // The first one's decision is not carried out; the second one is asked.
    const resumed = await visitor.get(decided.headers.get("location") as string);
    expect(resumed.headers.get("location")).toBe(page);
    const back = await visitor.decide(page);
    const answer = await redeem(server, client, { code: back.searchParams.get("code") as string, verifier }, HOSTED);
    expect(answer.json.user.id).toBe(second.id);
    // The back button: the request is over.
    expect(await (await visitor.get(page)).text()).toContain("This request is over");
    expect((await visitor.post(`${page}/decision`, { decision: "allow", limited: "no" })).headers.get("location")).toBe(page);
  });

  test("Cancel is access_denied, with state and iss, and links nobody", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const back = await visitor.decide(await visitor.begin(authorizeUrl(server, client, pkce().challenge)), { decision: "cancel" });
    expect(Object.fromEntries(back.searchParams)).toMatchObject({ error: "access_denied", state: "the-state", iss: originOf(server) });
    expect(back.searchParams.has("code")).toBe(false);
  });

  test("refuses a limit that is none, and asks again when the markup has changed since it was shown", async ({
    postgresServer: server,
  }) => {
    const client = await makeClient(server.db, { markupBps: 100 });
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
    const token = await visitor.token(page);
    for (const limit of ["", "0", "-5", "a lot", "1.2345678"]) {
      const answer = await visitor.post(`${page}/decision`, { decision: "allow", limited: "yes", limit, token });
      expect(answer.headers.get("location")).toBe(`${page}?limit=${encodeURIComponent(limit)}`);
    }
    const gone = await visitor.post(`${page}/decision`, { decision: "allow", limited: "no", model: "no-such-model", token });
    expect(gone.headers.get("location"), "models that are gone are not any model").toBe(`${page}?again=1`);
    await server.db.prisma.app.update({ where: { id: client.appId }, data: { markupBps: 90_000 } });
    const answer = await visitor.post(`${page}/decision`, { decision: "allow", limited: "no", token });
    expect(answer.headers.get("location")).toBe(`${page}?again=1`);
  });
});

test.describe("the token endpoint", () => {
  test("takes a POST form once with one way to authenticate, and nothing is stored by caches", async ({ postgresServer: server }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db);
    const token = `${originOf(server)}/oauth/token`;
    expect((await fetch(token)).status).toBe(405);
    const json = await fetch(token, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    expect(json.status).toBe(400);

    const wrong = await formPost(server, "/oauth/token", client, { grant_type: "authorization_code" }, { secret: "quota_secret_wrong" });
    expect(wrong.status).toBe(401);
    expect(wrong.json.error).toBe("invalid_client");
    expect(wrong.headers.get("www-authenticate")).toMatch(/^Basic /);
    expect(wrong.headers.get("cache-control")).toContain("no-store");
    const posted = await formPost(server, "/oauth/token", client, { grant_type: "authorization_code" }, { secret: "wrong", auth: "post" });
    expect(posted.status).toBe(401);
    expect(posted.headers.get("www-authenticate")).toMatch(/^Basic /);
    expect((await formPost(server, "/oauth/token", client, { grant_type: "authorization_code" }, { auth: "none" })).json.error).toBe(
      "invalid_client",
    );

    const issued = await codeFor(server, person, client);
    expect((await redeem(server, client, issued, { client_secret: client.secret })).json.error).toBe("invalid_request");
    const form = { grant_type: "authorization_code", code: issued.code, code_verifier: issued.verifier, redirect_uri: client.redirectUri };
    for (const name of ["code", "code_verifier", "grant_type"] as const) {
      expect((await formPost(server, "/oauth/token", client, [...Object.entries(form), [name, form[name]]])).json.error, name).toBe(
        "invalid_request",
      );
    }
    for (const grant of ["password", "client_credentials", "implicit"]) {
      expect((await formPost(server, "/oauth/token", client, { grant_type: grant })).json.error).toBe("unsupported_grant_type");
    }
    const ok = await redeem(server, client, issued, {}, { auth: "post" });
    expect(ok.status).toBe(200);
    expect(ok.headers.get("cache-control")).toContain("no-store");
    expect(ok.json.token_type).toBe("Bearer");
  });

  test("wants the verifier, the redirect URI and the client that belong to the code", async ({ postgresServer: server }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db, { redirectUris: ["http://localhost:4000/callback", "http://localhost:4000/other"] });
    const stranger = await makeClient(server.db);
    const issued = await codeFor(server, person, client);
    for (const attempt of [
      redeem(server, client, { ...issued, verifier: pkce().verifier }),
      redeem(server, client, issued, { code_verifier: "" }),
      redeem(server, client, issued, { redirect_uri: "http://localhost:4000/other" }),
      redeem(server, stranger, issued),
      redeem(server, client, { ...issued, code: "a".repeat(43) }),
    ]) {
      const answer = await attempt;
      expect(answer.status).toBe(400);
      expect(["invalid_grant", "invalid_request"]).toContain(answer.json.error);
    }
    // None of that used the code up.
    expect((await redeem(server, client, issued)).status).toBe(200);
  });

  test("a code works once: of ten at the same time one succeeds", async ({ postgresServer: server }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db);
    for (const over of [{}, { ...HOSTED, external_user_id: "ten" }, {}, { ...HOSTED, external_user_id: "ten" }]) {
      const issued = await codeFor(server, person, client);
      const answers = await Promise.all(Array.from({ length: 10 }, () => redeem(server, client, issued, over)));
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
      expect(answers.filter(({ json }) => json.error === "invalid_grant")).toHaveLength(9);
    }
    expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId, externalUserId: "ten" } })).toBe(1);
  });

  test("a code used twice ends what it issued", async ({ postgresServer: server }) => {
    const { client, issued, access_token, refresh_token } = await tokens(server);
    expect((await introspect(server, client, access_token)).active).toBe(true);
    expect((await redeem(server, client, issued)).json.error).toBe("invalid_grant");
    expect(await introspect(server, client, access_token)).toEqual(INACTIVE);
    expect((await refresh(server, client, refresh_token)).json.error).toBe("invalid_grant");
    expect((await userinfo(server, access_token)).status).toBe(401);
  });

  test("a code lives 60 seconds", async ({ postgresServer: server }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db);
    const issued = await codeFor(server, person, client);
    const [code] = await server.db.prisma.oAuthRecord.findMany({
      where: { kind: "AuthorizationCode" },
      orderBy: { createdAt: "desc" },
      take: 1,
    });
    const payload = code?.payload as { exp: number; iat: number };
    expect(payload.exp - payload.iat).toBe(60);
    await server.db.prisma.oAuthRecord.update({
      where: { kind_idHash: { kind: "AuthorizationCode", idHash: code?.idHash as never } },
      data: { payload: { ...payload, exp: payload.iat - 1 } },
    });
    expect((await redeem(server, client, issued)).json.error).toBe("invalid_grant");
  });

  test("refresh tokens rotate, never widen, and one used twice ends the live one", async ({ postgresServer: server }) => {
    const { client, refresh_token } = await tokens(server, "credits.read");
    expect((await refresh(server, client, refresh_token, { scope: "credits.read credits.spend" })).json.error).toBe("invalid_scope");
    expect((await refresh(server, await makeClient(server.db), refresh_token)).json.error).toBe("invalid_grant");
    const second = (await refresh(server, client, refresh_token)).json;
    expect(second.refresh_token).not.toBe(refresh_token);
    expect(second.scope).toBe("credits.read");
    const third = (await refresh(server, client, second.refresh_token)).json;
    expect((await introspect(server, client, third.access_token)).active).toBe(true);
    expect((await refresh(server, client, refresh_token)).json.error).toBe("invalid_grant");
    expect((await refresh(server, client, third.refresh_token)).json.error).toBe("invalid_grant");
    expect(await introspect(server, client, third.access_token)).toEqual(INACTIVE);
  });

  test("of ten refreshes at the same time one succeeds", async ({ postgresServer: server }) => {
    const { client, refresh_token } = await tokens(server);
    const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(server, client, refresh_token)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ json }) => json.error === "invalid_grant")).toHaveLength(9);
  });

  test("a public client has PKCE alone, and a browser on its own origin may read the answer", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db, { publicClient: true, redirectUris: ["https://spa.example/callback"] });
    const issued = await codeFor(server, await makePerson(server.db), client);
    const from = (origin: string) => redeem(server, client, issued, {}, { auth: "none", headers: { origin } });
    expect((await from("https://evil.example")).headers.get("access-control-allow-origin")).toBeNull();
    const answer = await from("https://spa.example");
    expect(answer.status).toBe(200);
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://spa.example");
  });
});

test.describe("hosted storage", () => {
  test("a code becomes a linked user with what the person decided, and no token leaves the server", async ({ postgresServer: server }) => {
    const { db } = server;
    const person = await makePerson(db);
    const client = await makeClient(db, { markupBps: 2_000 });
    const issued = await codeFor(server, person, client, {
      form: [
        ["decision", "allow"],
        ["limited", "yes"],
        ["limit", "$0.50"],
        ["model", "gpt-4o-mini"],
        ["model", "no-such-model"],
      ],
    });
    expect(Object.fromEntries(issued.back.searchParams)).toMatchObject({ state: "the-state", iss: originOf(server) });
    expect(await db.prisma.linkedUser.count({ where: { appId: client.appId } }), "links before the exchange").toBe(0);

    const answer = await redeem(server, client, issued, { ...HOSTED, external_user_id: "their-7" });
    expect(answer.json).toEqual({
      storage_mode: "hosted",
      external_user_id: "their-7",
      scope: "credits.read credits.spend",
      user: { id: person.id, email: person.email },
      linked_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    });
    expect(await db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId } })).toMatchObject({
      userId: person.id,
      monthlyLimit: 500_000n,
      allowedModels: ["gpt-4o-mini"],
      agreedMarkupBps: 2_000,
      byToken: false,
    });
    expect(
      await db.prisma.oAuthRecord.count({ where: { payload: { path: ["accountId"], equals: person.id } } }),
      "tokens and grants left",
    ).toBe(0);
    const events = await db.prisma.outboxEvent.findMany({ where: { appId: client.appId }, orderBy: { id: "asc" } });
    expect(events.map(({ type }) => type)).toEqual(["user.connected"]);

    const paid = await call(server, "/v1/chat/completions", { key: client.key, user: "their-7", body: chat("Hello") });
    expect(paid.status).toBe(200);
    expect(
      (await call(server, "/v1/chat/completions", { key: client.key, user: "their-7", body: chat("Hello", { model: "gpt-4o" }) })).status,
    ).toBe(403);
    // Another app's id, and another app's person, are nobody's business.
    const stranger = await makeClient(db);
    expect((await call(server, "/v1/users/their-7", { key: stranger.key })).status).toBe(404);
  });

  test("makes up an id when the app names none", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const answer = await redeem(server, client, await codeFor(server, await makePerson(server.db), client), HOSTED);
    expect(answer.json.external_user_id).toMatch(/^user_[0-9a-f-]{36}$/);
    expect((await call(server, `/v1/users/${answer.json.external_user_id}`, { key: client.key })).status).toBe(200);
  });

  test("refuses what it can't do, and the code is still good", async ({ postgresServer: server }) => {
    const { db } = server;
    const person = await makePerson(db);
    const client = await makeClient(db);
    const issued = await codeFor(server, person, client);
    for (const [over, error] of [
      [{ storage_mode: "somewhere" }, "invalid_request"],
      [{ ...HOSTED, external_user_id: "a".repeat(256) }, "invalid_request"],
      [{ ...HOSTED, external_user_id: " padded" }, "invalid_request"],
      [{ ...HOSTED, external_user_id: "line\nbreak" }, "invalid_request"],
      [{ external_user_id: "without-hosted" }, "invalid_request"],
    ] as const) {
      const answer = await redeem(server, client, issued, over);
      expect(answer.status, JSON.stringify(over)).toBe(400);
      expect(answer.json.error).toBe(error);
    }
    const form = { grant_type: "authorization_code", code: issued.code, code_verifier: issued.verifier, redirect_uri: client.redirectUri };
    const twice = await formPost(server, "/oauth/token", client, [
      ...Object.entries(form),
      ["storage_mode", "hosted"],
      ["storage_mode", "hosted"],
    ]);
    expect(twice.json.error).toBe("invalid_request");
    expect(await db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
    expect((await redeem(server, client, issued, HOSTED)).status).toBe(200);

    const spa = await makeClient(db, { publicClient: true });
    expect((await redeem(server, spa, await codeFor(server, person, spa), HOSTED, { auth: "none" })).json.error).toBe(
      "unauthorized_client",
    );
    const reading = await codeFor(server, person, client, { authorize: { scope: "credits.read" } });
    expect((await redeem(server, client, reading, HOSTED)).json.error).toBe("invalid_scope");
  });

  test("the same wallet again changes what was agreed; another wallet takes its place, and the app hears of it", async ({
    postgresServer: server,
  }) => {
    const { db } = server;
    const [first, second] = [await makePerson(db), await makePerson(db)];
    const client = await makeClient(db);
    const connect = async (person: Person, limit: string) => {
      const issued = await codeFor(server, person, client, {
        form: [
          ["decision", "allow"],
          ["limited", "yes"],
          ["limit", limit],
        ],
      });
      return (await redeem(server, client, issued, { ...HOSTED, external_user_id: "shared" })).json;
    };
    const before = await connect(first, "1.00");
    const again = await connect(first, "2.00");
    expect(again.linked_at).toBe(before.linked_at);
    expect((await db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId } })).monthlyLimit).toBe(2_000_000n);
    const replaced = await connect(second, "3.00");
    expect(replaced.user.id).toBe(second.id);
    const links = await db.prisma.linkedUser.findMany({ where: { appId: client.appId } });
    expect(links.map(({ userId, monthlyLimit }) => ({ userId, monthlyLimit }))).toEqual([{ userId: second.id, monthlyLimit: 3_000_000n }]);
    const events = await db.prisma.outboxEvent.findMany({ where: { appId: client.appId }, orderBy: { id: "asc" } });
    expect(events.map(({ type, data }) => [type, (data as { user_id: string }).user_id])).toEqual([
      ["user.connected", first.id],
      ["user.disconnected", first.id],
      ["user.connected", second.id],
    ]);
  });

  test("connecting and unlinking at the same time ends in one of both", async ({ postgresServer: server }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db);
    const over = { ...HOSTED, external_user_id: "both" };
    for (let round = 0; round < 3; round++) {
      await redeem(server, client, await codeFor(server, person, client), over);
      const issued = await codeFor(server, person, client);
      const [connected, unlinked] = await Promise.all([
        redeem(server, client, issued, over),
        call(server, "/v1/users/both/link", { method: "DELETE", key: client.key }),
      ]);
      expect([connected.status, unlinked.status]).toEqual([200, 200]);
      expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBeLessThanOrEqual(1);
    }
  });

  test("nobody is linked whose account was deleted after they said yes", async ({ postgresServer: server }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db);
    const issued = await codeFor(server, person, client);
    await server.db.prisma.user.update({ where: { id: person.id }, data: { deletedAt: new Date() } });
    expect((await redeem(server, client, issued, HOSTED)).json.error).toBe("invalid_grant");
    expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
  });

  test("two wallets that take one id at the same time leave one link", async ({ postgresServer: server }) => {
    const { db } = server;
    const client = await makeClient(db);
    const codes = await Promise.all([1, 2, 3].map(async () => codeFor(server, await makePerson(db), client)));
    const answers = await Promise.all(codes.map((issued) => redeem(server, client, issued, { ...HOSTED, external_user_id: "contended" })));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(await db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(1);
    const events = await db.prisma.outboxEvent.findMany({ where: { appId: client.appId } });
    expect(events.filter(({ type }) => type === "user.connected")).toHaveLength(3);
    expect(events.filter(({ type }) => type === "user.disconnected")).toHaveLength(2);
  });
});

test.describe("tokens", () => {
  test("are kept as hashes only", async ({ postgresServer: server }) => {
    const { issued, access_token, refresh_token } = await tokens(server);
    const rows = await server.db.prisma.$queryRaw<{ row: string }[]>`SELECT oauth_record::text AS row FROM oauth_record`;
    const kept = rows.map(({ row }) => row).join("\n");
    for (const secret of [issued.code, access_token, refresh_token]) {
      expect(secret.length).toBeGreaterThanOrEqual(22);
      expect(kept).not.toContain(secret);
      expect(server.output().stderr).not.toContain(secret);
    }
  });

  test("are read from the header only, and userinfo says what was granted", async ({ postgresServer: server }) => {
    const { person, access_token, id_token } = await tokens(server, "openid email");
    const url = `${originOf(server)}/oauth/userinfo`;
    expect((await fetch(`${url}?access_token=${access_token}`)).status).toBe(400);
    const answer = await userinfo(server, access_token);
    expect(await answer.json()).toEqual({ sub: person.id, email: person.email });
    const claims = JSON.parse(Buffer.from(String(id_token).split(".")[1] as string, "base64url").toString()) as { sub: string };
    expect(claims.sub).toBe(person.id);
    expect((await userinfo(server, "x".repeat(43))).status).toBe(401);
  });

  test("introspection says exactly nothing of unknown, foreign and revoked ones, nor to a public client", async ({
    postgresServer: server,
  }) => {
    const { client, access_token, refresh_token } = await tokens(server);
    const stranger = await makeClient(server.db);
    expect(await introspect(server, client, access_token)).toMatchObject({
      active: true,
      client_id: client.clientId,
      token_type: "Bearer",
    });
    expect(await introspect(server, stranger, access_token)).toEqual(INACTIVE);
    expect(await introspect(server, stranger, refresh_token)).toEqual(INACTIVE);
    expect(await introspect(server, client, "x".repeat(43))).toEqual(INACTIVE);
    const spa = await makeClient(server.db, { publicClient: true });
    const issued = await codeFor(server, await makePerson(server.db), spa);
    const own = (await redeem(server, spa, issued, {}, { auth: "none" })).json.access_token as string;
    expect((await formPost(server, "/oauth/introspect", spa, { token: own }, { auth: "none" })).json).toEqual(INACTIVE);
    expect((await formPost(server, "/oauth/revoke", client, { token: access_token })).status).toBe(200);
    expect(await introspect(server, client, access_token)).toEqual(INACTIVE);
  });

  test("revoking is 200 for an unknown one, leaves another client's alone, and a refresh token takes the rest with it", async ({
    postgresServer: server,
  }) => {
    const { client, access_token, refresh_token } = await tokens(server);
    const stranger = await makeClient(server.db);
    const revoke = (as: Client, token: string) => formPost(server, "/oauth/revoke", as, { token });
    expect((await revoke(client, "x".repeat(43))).status).toBe(200);
    expect((await revoke(stranger, refresh_token)).status).toBe(200);
    expect((await introspect(server, client, access_token)).active).toBe(true);
    expect((await revoke(client, refresh_token)).status).toBe(200);
    expect(await introspect(server, client, access_token)).toEqual(INACTIVE);
    expect((await userinfo(server, access_token)).status).toBe(401);
    expect((await refresh(server, client, refresh_token)).json.error).toBe("invalid_grant");
  });

  test("end with their link, and connecting again keeps one link", async ({ postgresServer: server }) => {
    const first = await tokens(server);
    const second = await tokens(server, undefined, first);
    const links = await server.db.prisma.linkedUser.findMany({ where: { appId: first.client.appId } });
    expect(links).toHaveLength(1);
    const unlinked = await call(server, `/v1/users/${links[0]?.externalUserId}/link`, { method: "DELETE", key: first.client.key });
    expect(unlinked.status).toBe(200);
    for (const { access_token, refresh_token } of [first, second]) {
      expect(await introspect(server, first.client, access_token)).toEqual(INACTIVE);
      expect((await refresh(server, first.client, refresh_token)).json.error).toBe("invalid_grant");
    }
  });

  test("refreshed, revoked and unlinked all at once end in peace, and nothing is left alive", async ({ postgresServer: server }) => {
    const first = await tokens(server);
    const second = await tokens(server, undefined, first);
    const { externalUserId } = await server.db.prisma.linkedUser.findFirstOrThrow({ where: { appId: first.client.appId } });
    const answers = await Promise.all([
      ...[first, second, first].map(({ client, refresh_token }) => refresh(server, client, refresh_token)),
      ...[first, second].map(({ client, access_token }) => formPost(server, "/oauth/revoke", client, { token: access_token })),
      call(server, `/v1/users/${externalUserId}/link`, { method: "DELETE", key: first.client.key }),
    ]);
    expect(answers.filter(({ status }) => status >= 500)).toEqual([]);
    const left = await server.db.prisma.oAuthRecord.findMany({ where: { payload: { path: ["accountId"], equals: first.person.id } } });
    expect(left.map(({ kind }) => kind)).toEqual([]);
  });

  test("for signing in only make no link", async ({ postgresServer: server }) => {
    const { client } = await tokens(server, "openid profile");
    expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
  });
});

test("on the embedded database the whole journey works too, ten redemptions at the same time included", async ({
  simulatedServer: server,
}) => {
  const { demo } = server;
  const client: Client = {
    appId: "",
    clientId: demo.app.client_id,
    secret: demo.app.client_secret,
    redirectUri: demo.app.redirect_uris[0] as string,
    key: demo.api_keys.user,
  };
  const issued = await codeFor(server, { id: "", walletId: "", ...demo.user }, client, {
    form: [
      ["decision", "allow"],
      ["limited", "yes"],
      ["limit", "0.25"],
    ],
  });
  const over = { ...HOSTED, external_user_id: "embedded-1" };
  const answers = await Promise.all(Array.from({ length: 10 }, () => redeem(server, client, issued, over)));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  expect(answers.filter(({ json }) => json.error === "invalid_grant")).toHaveLength(9);
  const seen = await call(server, "/v1/users/embedded-1", { key: client.key });
  expect(seen.json).toMatchObject({ user: { email: demo.user.email }, limit: 250_000, spent: 0 });
  expect((await call(server, "/v1/chat/completions", { key: client.key, user: "embedded-1", body: chat("Hello") })).status).toBe(200);
  expect((await call(server, "/v1/users/embedded-1/link", { method: "DELETE", key: client.key })).status).toBe(200);

  // An app that keeps tokens itself.
  const kept = await redeem(server, client, await codeFor(server, { id: "", walletId: "", ...demo.user }, client));
  expect(kept.json).toMatchObject({ token_type: "Bearer", expires_in: 3600, scope: "credits.read credits.spend" });
  expect(kept.json.id_token).toBeUndefined();
});

test.describe("other people's libraries", () => {
  test("openid-client completes the flow: discovery, PKCE, nonce, id_token, userinfo, refresh, introspection, revocation", async ({
    postgresServer: server,
  }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db);
    const config = await oidc.discovery(new URL(originOf(server)), client.clientId, undefined, oidc.ClientSecretBasic(client.secret), {
      execute: [oidc.allowInsecureRequests],
    });
    const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
    const [expectedState, expectedNonce] = [oidc.randomState(), oidc.randomNonce()];
    const url = oidc.buildAuthorizationUrl(config, {
      redirect_uri: client.redirectUri,
      scope: "openid profile email credits.read credits.spend",
      code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: "S256",
      state: expectedState,
      nonce: expectedNonce,
    });
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const back = await visitor.decide(await visitor.begin(url.href));
    const issued = await oidc.authorizationCodeGrant(config, back, {
      pkceCodeVerifier,
      expectedState,
      expectedNonce,
      idTokenExpected: true,
    });
    const claims = issued.claims();
    expect(claims).toMatchObject({ sub: person.id, aud: client.clientId, iss: originOf(server), nonce: expectedNonce });
    expect((claims?.exp ?? 0) - (claims?.iat ?? 0)).toBe(3600);
    expect(issued.expires_in).toBe(3600);
    expect((await oidc.fetchUserInfo(config, issued.access_token, person.id)).email).toBe(person.email);
    const renewed = await oidc.refreshTokenGrant(config, issued.refresh_token as string);
    expect((await oidc.tokenIntrospection(config, renewed.access_token)).active).toBe(true);
    await oidc.tokenRevocation(config, renewed.refresh_token as string);
    expect(await oidc.tokenIntrospection(config, renewed.access_token)).toEqual(INACTIVE);
  });

  test("oauth4webapi completes the flow as a public client, and verifies the id_token against the JWKS", async ({
    postgresServer: server,
  }) => {
    const person = await makePerson(server.db);
    const registered = await makeClient(server.db, { publicClient: true });
    const insecure = { [oauth.allowInsecureRequests]: true };
    const issuer = new URL(originOf(server));
    const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm: "oauth2" }));
    const client: oauth.Client = { client_id: registered.clientId };
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const page = await visitor.begin(
      authorizeUrl(server, registered, await oauth.calculatePKCECodeChallenge(verifier), { scope: "openid credits.spend", state }),
    );
    const parameters = oauth.validateAuthResponse(as, client, await visitor.decide(page), state);
    const response = await oauth.authorizationCodeGrantRequest(
      as,
      client,
      oauth.None(),
      parameters,
      registered.redirectUri,
      verifier,
      insecure,
    );
    const issued = await oauth.processAuthorizationCodeResponse(as, client, response, { requireIdToken: true });
    await oauth.validateApplicationLevelSignature(as, response, insecure);
    expect(oauth.getValidatedIdTokenClaims(issued)?.sub).toBe(person.id);
    expect(issued.scope).toBe("openid credits.spend");
  });
});
