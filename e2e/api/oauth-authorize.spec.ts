import { expect, test } from "../fixtures.ts";
import { authorizeUrl, codeFor, HOSTED, makeClient, makePerson, opened, originOf, pkce, redeem, Visitor } from "../oauth.ts";

/** A security checklist up to the redirect with the code. Each test is one requirement. */

const allow = { decision: "allow", limited: "no" };

test.describe("the redirect URI", () => {
  const registered = ["https://app.example/callback", "http://localhost:4000/callback"];

  for (const [what, uri] of [
    ["another host", "https://evil.example/callback"],
    ["another path", "https://app.example/callback/"],
    ["a query", "https://app.example/callback?x=1"],
    ["a fragment", "https://app.example/callback#x"],
    ["an encoded letter", "https://app.example/callbac%6B"],
    ["a capital in the host", "https://APP.example/callback"],
    ["the default port", "https://app.example:443/callback"],
    ["dot segments", "https://app.example/x/../callback"],
    ["a user name", "https://app.example@evil.example/callback"],
    ["another port on this machine", "http://localhost:4001/callback"],
    ["another name for this machine", "http://127.0.0.1:4000/callback"],
    ["white space", " https://app.example/callback"],
    ["none at all", undefined],
  ] as const) {
    test(`is compared as an exact string, and an unknown one is never redirected to: ${what}`, async ({ postgresServer: server }) => {
      const client = await makeClient(server.db, { redirectUris: registered });
      for (const over of [{}, { prompt: "none" }, { response_type: "token" }]) {
        const answer = await opened(server, authorizeUrl(server, client, pkce().challenge, { redirect_uri: uri, ...over }));
        expect(answer, JSON.stringify(over)).toMatchObject({ status: 400, location: null });
        expect(answer.html).toContain("Nothing was shared");
        expect(answer.html).not.toContain("<a ");
      }
    });
  }

  test("of an unknown client is never redirected to", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    for (const over of [{}, { prompt: "none" }]) {
      const url = authorizeUrl(server, client, pkce().challenge, { client_id: "quota_client_nobody", ...over });
      expect(await opened(server, url)).toMatchObject({ status: 400, location: null });
    }
  });

  test("given twice is never redirected to", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const url = `${authorizeUrl(server, client, pkce().challenge)}&redirect_uri=${encodeURIComponent("https://evil.example/")}`;
    expect(await opened(server, url)).toMatchObject({ status: 400, location: null });
  });

  test("with plain http is refused at registration, loopback excepted", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const developer = await makePerson(server.db);
    await server.db.prisma.app.update({ where: { id: client.appId }, data: { ownerId: developer.id } });
    const visitor = new Visitor(server);
    await visitor.signIn(developer);
    const register = async (uri: string) =>
      (await visitor.postJson("/api/trpc/apps.update", { json: { appId: client.appId, redirectUris: [uri] } })).status;
    for (const uri of [
      "http://app.example/cb",
      "http://localhost.evil.example/cb",
      "http://10.0.0.1/cb",
      "javascript:alert(1)",
      "app:/cb",
      "http://[::1]:4000/cb",
    ])
      expect(await register(uri), uri).toBe(400);
    for (const uri of ["https://app.example/cb", "http://localhost:4000/cb", "http://127.0.0.1/cb"])
      expect(await register(uri), uri).toBe(200);
  });
});

test.describe("no endpoint is an open redirector", () => {
  const elsewhere = "https://evil.example/";

  test("not the return after signing in, nor next-auth's own redirects", async ({ postgresServer: server }) => {
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    for (const target of [elsewhere, "//evil.example/", "/\\evil.example/", "https:evil.example", "javascript:alert(1)"]) {
      const answer = await visitor.get(`/sign-in?callbackUrl=${encodeURIComponent(target)}`);
      expect(new URL(answer.headers.get("location") as string, originOf(server)).origin, target).toBe(originOf(server));
    }
    for (const action of ["/api/auth/signin", "/api/auth/signout"]) {
      const answer = await visitor.get(`${action}?callbackUrl=${encodeURIComponent(elsewhere)}`);
      expect(answer.headers.get("location") ?? "", action).not.toContain("//evil.example");
    }
    const { csrfToken } = (await (await visitor.get("/api/auth/csrf")).json()) as { csrfToken: string };
    const out = await visitor.post("/api/auth/signout", { csrfToken, callbackUrl: elsewhere });
    expect(new URL(out.headers.get("location") as string, originOf(server)).origin).toBe(originOf(server));
  });

  test("not the return after a decision, for a request that has ended or never existed", async ({ postgresServer: server }) => {
    const visitor = new Visitor(server);
    for (const path of ["/oauth/authorize/nobody", `/oauth/authorize/${encodeURIComponent(elsewhere)}`, "/oauth/authorize/..%2f..%2f"]) {
      const answer = await visitor.get(`${path}?redirect_uri=${encodeURIComponent(elsewhere)}`);
      expect(answer.headers.get("location") ?? "", path).not.toContain("evil.example");
      expect(answer.status, path).toBeGreaterThanOrEqual(300);
    }
  });

  for (const [what, over, error] of [
    ["no PKCE", { code_challenge: undefined, code_challenge_method: undefined }, "invalid_request"],
    ["a response type that is not there", { response_type: "token" }, "unsupported_response_type"],
    ["a response mode that is not there", { response_mode: "fragment" }, "unsupported_response_mode"],
    ["a form as response mode", { response_mode: "form_post" }, "unsupported_response_mode"],
    ["a web message as response mode", { response_mode: "web_message" }, "unsupported_response_mode"],
    ["no known scope", { scope: "nothing.known" }, "invalid_scope"],
    ["a prompt that is not there", { prompt: "dance" }, "invalid_request"],
    ["a prompt that contradicts itself", { prompt: "none login" }, "invalid_request"],
    ["a bad max_age", { max_age: "-1" }, "invalid_request"],
    ["a request object", { request: "e30.e30." }, "request_not_supported"],
  ] as const) {
    test(`sign-in and consent come before an error redirect: ${what}`, async ({ postgresServer: server }) => {
      const client = await makeClient(server.db);
      const url = authorizeUrl(server, client, pkce().challenge, { ...over });
      const signedIn = new Visitor(server);
      await signedIn.signIn(await makePerson(server.db));
      for (const visitor of [new Visitor(server), signedIn]) {
        const answer = await visitor.get(url);
        // `none` together with another prompt is invalid (OpenID Connect Core §3.1.2.1), so it is not answered as a silent request.
        expect([answer.status, answer.headers.get("location")]).toEqual([400, null]);
        expect(await answer.text()).toContain(error);
      }
    });
  }
});

test.describe("PKCE", () => {
  for (const publicClient of [false, true]) {
    test(`is required of every client: ${publicClient ? "a public one" : "one with a secret"}`, async ({ postgresServer: server }) => {
      const client = await makeClient(server.db, { publicClient });
      for (const over of [
        { code_challenge: undefined, code_challenge_method: undefined },
        { code_challenge: undefined },
        { code_challenge: "" },
      ]) {
        const answer = await opened(server, authorizeUrl(server, client, "", over));
        expect(answer, JSON.stringify(over)).toMatchObject({ status: 400, location: null });
        expect(answer.html).toContain("invalid_request");
      }
    });
  }

  test("`plain` is refused, also as the default without code_challenge_method", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    for (const method of ["plain", undefined, "s256", "S512"]) {
      const answer = await opened(server, authorizeUrl(server, client, pkce().challenge, { code_challenge_method: method }));
      expect(answer, String(method)).toMatchObject({ status: 400, location: null });
    }
  });

  test("a challenge that is no SHA-256 is refused", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    for (const challenge of ["short", "a".repeat(129), `${"a".repeat(42)}!`])
      expect((await opened(server, authorizeUrl(server, client, challenge))).status, challenge).toBe(400);
  });
});

test("no implicit flow, and no hybrid one", async ({ postgresServer: server }) => {
  const client = await makeClient(server.db);
  for (const type of ["token", "id_token", "id_token token", "code token", "code id_token", "code id_token token", "none"]) {
    const url = authorizeUrl(server, client, pkce().challenge, { response_type: type, scope: "openid", nonce: "n" });
    const answer = await opened(server, url);
    expect(answer, type).toMatchObject({ status: 400, location: null });
    expect(answer.html, type).toContain("unsupported_response_type");
  }
});

test.describe("iss and state", () => {
  test("iss is in the success response", async ({ postgresServer: server }) => {
    const { back } = await codeFor(server, await makePerson(server.db), await makeClient(server.db));
    expect(back.searchParams.getAll("iss")).toEqual([originOf(server)]);
    expect(back.searchParams.has("code")).toBe(true);
  });

  test("iss is in error responses: denied, and prompt=none", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const denied = await visitor.decide(await visitor.begin(authorizeUrl(server, client, pkce().challenge)), { decision: "cancel" });
    expect(denied.searchParams.getAll("iss")).toEqual([originOf(server)]);
    const { location } = await opened(server, authorizeUrl(server, client, pkce().challenge, { prompt: "none", scope: "openid" }));
    expect(new URL(location as string).searchParams.getAll("iss")).toEqual([originOf(server)]);
  });

  test("iss is announced in the metadata", async ({ postgresServer: server }) => {
    for (const path of ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]) {
      const metadata = (await (await fetch(originOf(server) + path)).json()) as object;
      expect(metadata).toMatchObject({ authorization_response_iss_parameter_supported: true, issuer: originOf(server) });
    }
  });

  for (const state of ["the-state", "äöü €", "a&b=c#d?e", "%2B+ %20", "x".repeat(2_000), '"><script>', "{}"]) {
    test(`state is returned unchanged: ${state.slice(0, 20)}`, async ({ postgresServer: server }) => {
      const client = await makeClient(server.db, { redirectUris: ["http://localhost:4000/callback?own=1"] });
      const visitor = new Visitor(server);
      await visitor.signIn(await makePerson(server.db));
      const granted = await visitor.decide(await visitor.begin(authorizeUrl(server, client, pkce().challenge, { state })));
      const denied = await visitor.decide(await visitor.begin(authorizeUrl(server, client, pkce().challenge, { state })), {
        decision: "cancel",
      });
      for (const back of [granted, denied]) {
        expect(back.searchParams.getAll("state")).toEqual([state]);
        // The redirect URI's own query stays.
        expect(back.searchParams.get("own")).toBe("1");
      }
    });
  }

  test("no state is returned when none was sent", async ({ postgresServer: server }) => {
    const { back } = await codeFor(server, await makePerson(server.db), await makeClient(server.db), { authorize: { state: undefined } });
    expect(back.searchParams.has("state")).toBe(false);
  });
});

test.describe("redirects after a form use 303", () => {
  test("signing in and out", async ({ postgresServer: server }) => {
    const { email, password } = await makePerson(server.db);
    const visitor = new Visitor(server);
    const { csrfToken } = (await (await visitor.get("/api/auth/csrf")).json()) as { csrfToken: string };
    for (const [path, form] of [
      ["/api/auth/callback/credentials", { email, password }],
      ["/api/auth/signout", {}],
    ] as const) {
      const answer = await visitor.post(path, { csrfToken, callbackUrl: originOf(server), ...form });
      expect(answer.status, path).toBe(303);
      expect(new URL(answer.headers.get("location") as string).origin, path).toBe(originOf(server));
    }
  });

  test("Allow, Cancel, a wrong form, and each redirect back to the app", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    for (const form of [allow, { decision: "cancel" }]) {
      const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
      expect((await visitor.post(`${page}/decision`, form)).status, "without its token").toBe(303);
      expect((await visitor.post(`${page}/decision`, { ...form, limited: "yes", limit: "x" })).status, "with a bad limit").toBe(303);
      const decided = await visitor.post(`${page}/decision`, { ...form, token: await visitor.token(page) });
      expect(decided.status).toBe(303);
      expect((await visitor.get(decided.headers.get("location") as string)).status).toBe(303);
    }
  });
});

test.describe("CORS", () => {
  test("never on authorize, its resume path, or the consent page, preflights included", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const url = authorizeUrl(server, client, pkce().challenge);
    const page = await visitor.begin(url);
    const headers = { origin: "http://localhost:4000", "access-control-request-method": "GET" };
    const silent = authorizeUrl(server, client, pkce().challenge, { prompt: "none" });
    for (const target of [url, silent, "/oauth/authorize", "/oauth/authorize/nobody", page, `${page}/decision`]) {
      for (const method of ["GET", "OPTIONS"]) {
        const answer = await visitor.request(method, target, headers);
        const names = [...answer.headers.keys()].filter((name) => name.startsWith("access-control"));
        expect(names, `${method} ${target}`).toEqual([]);
      }
    }
  });
});

test.describe("consent", () => {
  test("can't be framed: CSP frame-ancestors 'none' and X-Frame-Options, on the pages of the authorization server too", async ({
    postgresServer: server,
  }) => {
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const page = await visitor.begin(authorizeUrl(server, await makeClient(server.db), pkce().challenge));
    for (const path of [page, "/connect/nobody", "/sign-in", "/oauth/authorize", "/oauth/authorize/nobody"]) {
      const { headers } = await visitor.get(path);
      expect(headers.get("content-security-policy"), path).toContain("frame-ancestors 'none'");
      expect(headers.get("x-frame-options"), path).toBe("DENY");
    }
  });

  test("loads nothing from third parties, also when the app's logo is elsewhere", async ({ postgresServer: server }) => {
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const client = await makeClient(server.db);
    await server.db.prisma.app.update({ where: { id: client.appId }, data: { logoUrl: "https://elsewhere.example/logo.png" } });
    const answer = await visitor.get(await visitor.begin(authorizeUrl(server, client, pkce().challenge)));
    const policy: Record<string, string[]> = Object.fromEntries(
      (answer.headers.get("content-security-policy") ?? "").split("; ").map((each) => [each.split(" ")[0], each.split(" ").slice(1)]),
    );
    for (const name of ["default-src", "script-src", "style-src", "img-src", "font-src", "connect-src"])
      expect(
        policy[name]?.filter((source) => !["'self'", "'unsafe-inline'", "data:"].includes(source)),
        name,
      ).toEqual([]);
    expect([...(await answer.text()).matchAll(/(?:src|srcset|href)="(https?:)?\/\//g)]).toEqual([]);
  });

  test("sends Referrer-Policy: no-referrer, and Cache-Control: no-store", async ({ postgresServer: server }) => {
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const page = await visitor.begin(authorizeUrl(server, await makeClient(server.db), pkce().challenge));
    for (const path of [page, "/oauth/authorize"]) {
      const { headers } = await visitor.get(path);
      expect(headers.get("referrer-policy"), path).toBe("no-referrer");
      expect(headers.get("cache-control"), path).toContain("no-store");
    }
  });

  test("its POST is protected against CSRF", async ({ postgresServer: server }) => {
    const person = await makePerson(server.db);
    const client = await makeClient(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
    const other = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
    const [token, ofAnother] = [await visitor.token(page), await visitor.token(other)];
    for (const [form, headers] of [
      [allow, {}],
      [{ decision: "cancel" }, {}],
      [{ ...allow, token: "" }, {}],
      [{ ...allow, token: "x".repeat(43) }, {}],
      [{ ...allow, token: ofAnother }, {}],
      [{ ...allow, token }, { "sec-fetch-site": "cross-site" }],
      [{ ...allow, token }, { "sec-fetch-site": "same-site" }],
      [{ ...allow, token }, { origin: "https://evil.example" }],
    ] as const) {
      const answer = await visitor.post(`${page}/decision`, form, headers);
      expect([answer.status, answer.headers.get("location")], JSON.stringify([form, headers])).toEqual([303, `${page}?again=1`]);
    }
    expect((await visitor.get(`${page}/decision?decision=allow&limited=no&token=${token}`)).status, "by GET").toBe(405);
    const grants = { kind: "Grant", payload: { path: ["accountId"], equals: person.id } };
    expect(await server.db.prisma.oAuthRecord.count({ where: grants })).toBe(0);
    // The form itself still works.
    expect((await visitor.decide(page)).searchParams.has("code")).toBe(true);
  });

  test("its POST is bound to the browser that began it", async ({ postgresServer: server }) => {
    const person = await makePerson(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const page = await visitor.begin(authorizeUrl(server, await makeClient(server.db), pkce().challenge));
    const token = await visitor.token(page);
    // The same user in another browser.
    const elsewhere = new Visitor(server);
    await elsewhere.signIn(person);
    expect(await (await elsewhere.get(page)).text()).toContain("This request is over");
    const answer = await elsewhere.post(`${page}/decision`, { ...allow, token });
    expect(answer.headers.get("location")).toBe(page);
    // Nor can another browser resume the request after this decision.
    const decided = await visitor.post(`${page}/decision`, { ...allow, token });
    const carried = await elsewhere.get(decided.headers.get("location") as string);
    expect([carried.status, carried.headers.get("location")]).toEqual([400, null]);
  });

  test("denied is access_denied, without a code or a link", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const back = await visitor.decide(await visitor.begin(authorizeUrl(server, client, pkce().challenge)), { decision: "cancel" });
    expect(back.origin + back.pathname).toBe(client.redirectUri);
    expect(Object.fromEntries(back.searchParams)).toMatchObject({ error: "access_denied", state: "the-state", iss: originOf(server) });
    expect(back.searchParams.has("code")).toBe(false);
    expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
  });
});

test.describe("another user signs in in the same browser", () => {
  test("before the decision: the first user's form has no effect, and the grant goes to the new user", async ({
    postgresServer: server,
  }) => {
    const [first, second] = [await makePerson(server.db), await makePerson(server.db)];
    const client = await makeClient(server.db);
    const { verifier, challenge } = pkce();
    const visitor = new Visitor(server);
    await visitor.signIn(first);
    const page = await visitor.begin(authorizeUrl(server, client, challenge));
    const token = await visitor.token(page);
    await visitor.signIn(second);
    expect((await visitor.post(`${page}/decision`, { ...allow, token })).headers.get("location")).toBe(`${page}?again=1`);
    const back = await visitor.decide(page);
    const answer = await redeem(server, client, { code: back.searchParams.get("code") as string, verifier }, HOSTED);
    expect(answer.json.user.id).toBe(second.id);
  });

  test("after the decision: the first user's decision is not carried out, and the grant goes to the new user", async ({
    postgresServer: server,
  }) => {
    const [first, second] = [await makePerson(server.db), await makePerson(server.db)];
    const client = await makeClient(server.db);
    const { verifier, challenge } = pkce();
    const visitor = new Visitor(server);
    await visitor.signIn(first);
    const page = await visitor.begin(authorizeUrl(server, client, challenge));
    const decided = await visitor.post(`${page}/decision`, { ...allow, token: await visitor.token(page) });
    await visitor.signIn(second);
    const resumed = await visitor.get(decided.headers.get("location") as string);
    expect(resumed.headers.get("location")).toBe(page);
    const back = await visitor.decide(page);
    const answer = await redeem(server, client, { code: back.searchParams.get("code") as string, verifier }, HOSTED);
    expect(answer.json.user.id).toBe(second.id);
    // Opened again with the back button, the request has ended.
    expect(await (await visitor.get(page)).text()).toContain("This request is over");
    expect((await visitor.post(`${page}/decision`, allow)).headers.get("location")).toBe(page);
  });

  test("when the user has signed out, the decision is not carried out either", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
    const decided = await visitor.post(`${page}/decision`, { ...allow, token: await visitor.token(page) });
    visitor.signOut();
    expect((await visitor.get(decided.headers.get("location") as string)).headers.get("location")).toBe(page);
    expect((await visitor.get(page)).headers.get("location")).toBe(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
  });
});
