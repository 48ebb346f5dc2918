import { createPublicKey, verify } from "node:crypto";
import { makeLink } from "../../src/testing/makers.ts";
import { call, chat } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import {
  authorizeUrl,
  type Client,
  codeFor,
  formPost,
  HOSTED,
  INACTIVE,
  introspect,
  makeClient,
  makePerson,
  originOf,
  pkce,
  redeem,
  refresh,
  tokens,
  userinfo,
  Visitor,
} from "../oauth.ts";

/** A security checklist from the code on. Each test is one requirement. */

const METADATA = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

/** A code of a new user for a new app. */
async function issue(server: PostgresServer, options: Parameters<typeof makeClient>[1] = {}, scope?: string) {
  const client = await makeClient(server.db, options);
  const person = await makePerson(server.db);
  const issued = await codeFor(server, person, client, scope === undefined ? {} : { authorize: { scope } });
  return { client, person, issued };
}

/** Stored records of a user's codes or tokens of one kind. */
const recordsOf = (server: PostgresServer, kind: string, personId: string) =>
  server.db.prisma.oAuthRecord.findMany({ where: { kind, payload: { path: ["accountId"], equals: personId } } });

/** Makes a user's records of one kind expire. */
async function expire(server: PostgresServer, kind: string, personId: string): Promise<void> {
  const records = await recordsOf(server, kind, personId);
  expect(records).not.toEqual([]);
  for (const { idHash, payload } of records) {
    const { iat } = payload as { iat: number };
    await server.db.prisma.oAuthRecord.update({
      where: { kind_idHash: { kind, idHash } },
      data: { payload: { ...(payload as object), exp: iat - 1 } },
    });
  }
}

function expectRefused(answer: { status: number; json: { error?: string } }, error: string, what?: string): void {
  expect([answer.status, answer.json.error], what).toEqual([error === "invalid_client" ? 401 : 400, error]);
}

test.describe("the verifier", () => {
  test("that is wrong is refused", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    expectRefused(await redeem(server, client, { ...issued, verifier: pkce().verifier }), "invalid_grant");
  });

  test("that is missing is refused, of a public client too", async ({ postgresServer: server }) => {
    for (const publicClient of [false, true]) {
      const { client, issued } = await issue(server, { publicClient });
      const form = { grant_type: "authorization_code", code: issued.code, redirect_uri: client.redirectUri };
      const auth = publicClient ? ("none" as const) : ("basic" as const);
      expectRefused(await formPost(server, "/oauth/token", client, form, { auth }), "invalid_grant");
      expectRefused(await formPost(server, "/oauth/token", client, { ...form, code_verifier: "" }, { auth }), "invalid_grant");
    }
  });

  test("that is superfluous, for a code without a challenge, is refused", async ({ postgresServer: server }) => {
    const { client, person, issued } = await issue(server);
    const [record] = await recordsOf(server, "AuthorizationCode", person.id);
    const { codeChallenge, codeChallengeMethod, ...rest } = (record as { payload: unknown }).payload as Record<string, string>;
    expect(codeChallenge).toBeTruthy();
    expect(codeChallengeMethod).toBe("S256");
    await server.db.prisma.oAuthRecord.update({
      where: { kind_idHash: { kind: "AuthorizationCode", idHash: record?.idHash as never } },
      data: { payload: rest },
    });
    expectRefused(await redeem(server, client, issued), "invalid_grant");
  });

  test("that is the challenge itself is refused", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const { verifier, challenge } = pkce();
    expect(verifier).not.toBe(challenge);
    const issued = await codeFor(server, await makePerson(server.db), client, { authorize: { code_challenge: challenge } });
    expectRefused(await redeem(server, client, { ...issued, verifier: challenge }), "invalid_grant");
  });

  test("refused does not use the code up", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    expectRefused(await redeem(server, client, { ...issued, verifier: pkce().verifier }), "invalid_grant");
    expect((await redeem(server, client, issued)).status).toBe(200);
  });
});

test("no password, client credentials or implicit grant", async ({ postgresServer: server }) => {
  const client = await makeClient(server.db);
  const person = await makePerson(server.db);
  for (const grant of ["password", "client_credentials", "implicit", "urn:ietf:params:oauth:grant-type:device_code"]) {
    const form = { grant_type: grant, username: person.email, password: person.password };
    expectRefused(await formPost(server, "/oauth/token", client, form), "unsupported_grant_type", grant);
  }
  for (const path of METADATA) {
    const metadata = (await (await fetch(originOf(server) + path)).json()) as Record<string, unknown>;
    expect(metadata.grant_types_supported).toEqual(["authorization_code", "refresh_token"]);
    expect(metadata.response_types_supported).toEqual(["code"]);
  }
});

test.describe("a code", () => {
  test("works once", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    expect((await redeem(server, client, issued)).status).toBe(200);
    expectRefused(await redeem(server, client, issued), "invalid_grant");
  });

  for (const [what, over] of [
    ["for tokens", {}],
    ["for a hosted link", { ...HOSTED, external_user_id: "ten" }],
  ] as const) {
    test(`works once under ten parallel requests too, ${what}`, async ({ postgresServer: server }) => {
      const { client, issued } = await issue(server);
      const answers = await Promise.all(Array.from({ length: 10 }, () => redeem(server, client, issued, over)));
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
      expect(answers.filter(({ json }) => json.error === "invalid_grant")).toHaveLength(9);
      // Reusing a code ends its grant, and with the last grant a link that keeps tokens.
      expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe("storage_mode" in over ? 1 : 0);
    });
  }

  test("replayed revokes what the code issued", async ({ postgresServer: server }) => {
    const { client, issued, access_token, refresh_token } = await tokens(server);
    const renewed = (await refresh(server, client, refresh_token)).json;
    for (const token of [access_token, renewed.access_token, renewed.refresh_token])
      expect((await introspect(server, client, token)).active).toBe(true);
    expectRefused(await redeem(server, client, issued), "invalid_grant");
    for (const token of [access_token, renewed.access_token, renewed.refresh_token])
      expect(await introspect(server, client, token)).toEqual(INACTIVE);
    expect((await userinfo(server, access_token)).status).toBe(401);
    expectRefused(await refresh(server, client, renewed.refresh_token), "invalid_grant");
  });

  test("is bound to its client", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    const stranger = await makeClient(server.db);
    expectRefused(await redeem(server, stranger, issued), "invalid_grant");
    const spa = await makeClient(server.db, { publicClient: true });
    expectRefused(await redeem(server, spa, issued, {}, { auth: "none" }), "invalid_grant");
    // Another client's attempt does not use the code up.
    expect((await redeem(server, client, issued)).status).toBe(200);
  });

  test("is bound to its redirect URI, which has to be there", async ({ postgresServer: server }) => {
    const redirectUris = ["http://localhost:4000/callback", "http://localhost:4000/other"];
    const { client, issued } = await issue(server, { redirectUris });
    expectRefused(await redeem(server, client, issued, { redirect_uri: redirectUris[1] as string }), "invalid_grant");
    expectRefused(await redeem(server, client, issued, { redirect_uri: `${redirectUris[0]}/` }), "invalid_grant");
    const { code, verifier } = issued;
    const without = await formPost(server, "/oauth/token", client, { grant_type: "authorization_code", code, code_verifier: verifier });
    expect(without.status).toBe(400);
    expect((await redeem(server, client, issued)).status).toBe(200);
  });

  test("lives 60 s", async ({ postgresServer: server }) => {
    const { client, person, issued } = await issue(server);
    const [record] = await recordsOf(server, "AuthorizationCode", person.id);
    const { exp, iat } = (record as { payload: unknown }).payload as { exp: number; iat: number };
    expect(exp - iat).toBe(60);
    await expire(server, "AuthorizationCode", person.id);
    expectRefused(await redeem(server, client, issued), "invalid_grant");
  });
});

test.describe("refresh tokens", () => {
  test("rotate", async ({ postgresServer: server }) => {
    const { client, refresh_token, access_token } = await tokens(server);
    const renewed = await refresh(server, client, refresh_token);
    expect(renewed.status).toBe(200);
    expect(renewed.json.refresh_token).not.toBe(refresh_token);
    expect(renewed.json.access_token).not.toBe(access_token);
    expect((await refresh(server, client, renewed.json.refresh_token)).status).toBe(200);
  });

  test("reused after rotation: the current one is revoked", async ({ postgresServer: server }) => {
    const { client, refresh_token } = await tokens(server);
    const second = (await refresh(server, client, refresh_token)).json;
    const live = (await refresh(server, client, second.refresh_token)).json;
    expect((await introspect(server, client, live.access_token)).active).toBe(true);
    expectRefused(await refresh(server, client, refresh_token), "invalid_grant");
    expectRefused(await refresh(server, client, live.refresh_token), "invalid_grant");
    expect(await introspect(server, client, live.access_token)).toEqual(INACTIVE);
  });

  test("ten parallel refreshes give one success", async ({ postgresServer: server }) => {
    const { client, refresh_token } = await tokens(server);
    const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(server, client, refresh_token)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ json }) => json.error === "invalid_grant")).toHaveLength(9);
  });

  test("can't widen their scope, not over several steps either", async ({ postgresServer: server }) => {
    const { client, refresh_token } = await tokens(server, "openid credits.read");
    expectRefused(await refresh(server, client, refresh_token, { scope: "credits.read credits.spend" }), "invalid_scope");
    const narrow = (await refresh(server, client, refresh_token, { scope: "credits.read" })).json;
    expect(narrow.scope).toBe("credits.read");
    const again = await refresh(server, client, narrow.refresh_token, { scope: "credits.read email" });
    expectRefused(again, "invalid_scope");
  });

  test("are bound to their client", async ({ postgresServer: server }) => {
    const { client, refresh_token } = await tokens(server);
    expectRefused(await refresh(server, await makeClient(server.db), refresh_token), "invalid_grant");
    expect((await refresh(server, client, refresh_token)).status).toBe(200);
  });
});

test.describe("a client", () => {
  for (const [path, form] of [
    ["/oauth/token", { grant_type: "authorization_code" }],
    ["/oauth/introspect", { token: "x" }],
    ["/oauth/revoke", { token: "x" }],
  ] as const) {
    test(`with a wrong secret is 401 with WWW-Authenticate: ${path}`, async ({ postgresServer: server }) => {
      const client = await makeClient(server.db);
      for (const options of [
        { secret: "quota_secret_wrong" },
        { secret: "quota_secret_wrong", auth: "post" },
        { secret: `${client.secret}x` },
        { secret: client.secret.slice(0, -1) },
        { auth: "none" },
      ] as const) {
        const answer = await formPost(server, path, client, form, options);
        expectRefused(answer, "invalid_client", JSON.stringify(options));
        expect(answer.headers.get("www-authenticate"), JSON.stringify(options)).toMatch(/^Basic realm=/);
      }
      expect((await formPost(server, path, { ...client, clientId: "quota_client_nobody" }, form)).status).toBe(401);
    });

    test(`uses one authentication method per request: ${path}`, async ({ postgresServer: server }) => {
      const client = await makeClient(server.db);
      const both = await formPost(server, path, client, { ...form, client_id: client.clientId, client_secret: client.secret });
      expectRefused(both, "invalid_request");
    });
  }

  test("may form-encode its Basic credentials", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    // RFC 6749 §2.3.1: every character may be encoded before Base64.
    const encoded = (text: string) => [...text].map((letter) => `%${letter.charCodeAt(0).toString(16).padStart(2, "0")}`).join("");
    const ask = (credentials: string) =>
      fetch(`${originOf(server)}/oauth/introspect`, {
        method: "POST",
        headers: { authorization: `Basic ${btoa(credentials)}` },
        body: new URLSearchParams({ token: "x" }),
      });
    expect((await ask(`${encoded(client.clientId)}:${encoded(client.secret)}`)).status).toBe(200);
    expect((await ask(`${client.clientId}:${client.secret}`)).status).toBe(200);
    expect((await ask(`${client.clientId}:%${client.secret}`)).status).toBeGreaterThanOrEqual(400);
    expect((await ask(client.clientId)).status).toBeGreaterThanOrEqual(400);
  });

  test("that is public needs no secret, and cannot act under another client's id", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server, { publicClient: true });
    expectRefused(await redeem(server, client, issued), "invalid_client");
    expect((await redeem(server, client, issued, {}, { auth: "none" })).status).toBe(200);
  });
});

test.describe("the token endpoint", () => {
  test("accepts POST only", async ({ postgresServer: server }) => {
    for (const method of ["GET", "HEAD", "PUT", "PATCH", "DELETE"]) {
      const answer = await fetch(`${originOf(server)}/oauth/token?grant_type=authorization_code`, { method });
      expect(answer.status, method).toBe(405);
    }
  });

  test("accepts a form only", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    const form = { grant_type: "authorization_code", code: issued.code, code_verifier: issued.verifier, redirect_uri: client.redirectUri };
    const authorization = `Basic ${btoa(`${client.clientId}:${client.secret}`)}`;
    for (const [type, body] of [
      ["application/json", JSON.stringify(form)],
      ["text/plain", new URLSearchParams(form).toString()],
      ["multipart/form-data; boundary=x", `--x\r\ncontent-disposition: form-data; name="grant_type"\r\n\r\nauthorization_code\r\n--x--`],
    ] as const) {
      const answer = await fetch(`${originOf(server)}/oauth/token`, {
        method: "POST",
        headers: { authorization, "content-type": type },
        body,
      });
      expect([answer.status, ((await answer.json()) as { error: string }).error], type).toEqual([400, "invalid_request"]);
    }
    expect((await redeem(server, client, issued)).status).toBe(200);
  });

  test("refuses repeated parameters", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    const form = {
      grant_type: "authorization_code",
      code: issued.code,
      code_verifier: issued.verifier,
      redirect_uri: client.redirectUri,
      storage_mode: "hosted",
      external_user_id: "twice",
    };
    for (const [name, value] of Object.entries(form)) {
      const answer = await formPost(server, "/oauth/token", client, [...Object.entries(form), [name, value]]);
      expectRefused(answer, "invalid_request", name);
    }
    expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
    expect((await formPost(server, "/oauth/token", client, form)).status).toBe(200);
  });

  test("answers with Cache-Control: no-store, to accepted and refused requests", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    const good = await redeem(server, client, issued);
    expect([good.status, good.headers.get("cache-control")]).toEqual([200, "no-store"]);
    for (const answer of [
      await redeem(server, client, issued),
      await formPost(server, "/oauth/token", client, { grant_type: "password" }),
      await redeem(server, client, issued, {}, { secret: "wrong" }),
    ]) {
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.headers.get("cache-control")).toContain("no-store");
    }
    const hosted = await issue(server);
    expect((await redeem(server, hosted.client, hosted.issued, HOSTED)).headers.get("cache-control")).toContain("no-store");
  });
});

test.describe("tokens are never accepted from the query string", () => {
  test("not at userinfo", async ({ postgresServer: server }) => {
    const { access_token } = await tokens(server, "openid email");
    const url = `${originOf(server)}/oauth/userinfo?access_token=${access_token}`;
    for (const method of ["GET", "POST"]) {
      const answer = await fetch(url, { method });
      expect(answer.status, method).toBeGreaterThanOrEqual(400);
      expect(await answer.text()).not.toContain("email");
    }
  });

  test("not at introspection or revocation, nor a code or a refresh token at the token endpoint", async ({ postgresServer: server }) => {
    const { client, access_token, refresh_token } = await tokens(server);
    const inQuery = (path: string, query: Record<string, string>) => formPost(server, `${path}?${new URLSearchParams(query)}`, client, {});
    expectRefused(await inQuery("/oauth/introspect", { token: access_token }), "invalid_request");
    expectRefused(await inQuery("/oauth/revoke", { token: access_token }), "invalid_request");
    expectRefused(await inQuery("/oauth/token", { grant_type: "refresh_token", refresh_token }), "invalid_request");
    expect((await introspect(server, client, access_token)).active).toBe(true);
    expect((await refresh(server, client, refresh_token)).status).toBe(200);
  });

  test("not on /v1", async ({ postgresServer: server }) => {
    const { access_token, client } = await tokens(server);
    for (const secret of [access_token, client.key]) {
      for (const name of ["access_token", "api_key", "key"])
        expect((await fetch(`${originOf(server)}/v1/balance?${name}=${secret}`)).status, name).toBe(401);
    }
  });

  test("nor is a client's secret", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    const query = new URLSearchParams({ client_id: client.clientId, client_secret: client.secret });
    const body = new URLSearchParams({
      grant_type: "authorization_code",
      code: issued.code,
      code_verifier: issued.verifier,
      redirect_uri: client.redirectUri,
    });
    expect((await fetch(`${originOf(server)}/oauth/token?${query}`, { method: "POST", body })).status).toBe(400);
  });
});

test.describe("CORS", () => {
  test("on the metadata and the JWKS, for any origin", async ({ postgresServer: server }) => {
    for (const path of [...METADATA, "/.well-known/jwks.json"]) {
      const answer = await fetch(originOf(server) + path, { headers: { origin: "https://any.example" } });
      expect(answer.status).toBe(200);
      expect(["*", "https://any.example"], path).toContain(answer.headers.get("access-control-allow-origin"));
      expect(answer.headers.get("access-control-allow-credentials"), path).toBeNull();
    }
  });

  test("on the token endpoint, for a browser app on its own origin only", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server, { publicClient: true, redirectUris: ["https://spa.example/callback"] });
    const preflight = await fetch(`${originOf(server)}/oauth/token`, {
      method: "OPTIONS",
      headers: { origin: "https://spa.example", "access-control-request-method": "POST" },
    });
    expect(preflight.headers.get("access-control-allow-methods")).toContain("POST");
    const from = (origin: string) => redeem(server, client, issued, {}, { auth: "none", headers: { origin } });
    for (const origin of ["https://evil.example", "https://spa.example.evil.example", "http://spa.example", "null"]) {
      const answer = await from(origin);
      expect([answer.status, answer.headers.get("access-control-allow-origin")], origin).toEqual([400, null]);
    }
    const answer = await from("https://spa.example");
    expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([200, "https://spa.example"]);
    expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
  });
});

test.describe("the metadata", () => {
  for (const path of METADATA) {
    test(`is published, and its issuer equals iss: ${path}`, async ({ postgresServer: server }) => {
      const metadata = (await (await fetch(originOf(server) + path)).json()) as Record<string, unknown>;
      expect(metadata).toMatchObject({
        issuer: originOf(server),
        response_modes_supported: ["query"],
        code_challenge_methods_supported: ["S256"],
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
        scopes_supported: ["openid", "profile", "email", "credits.read", "credits.spend"],
      });
      const { back, verifier, code } = (await issue(server)).issued;
      expect([code, verifier, back.searchParams.get("iss")]).toEqual([code, verifier, metadata.issuer]);
    });

    test(`lists endpoints that all answer, on this server: ${path}`, async ({ postgresServer: server }) => {
      const metadata = (await (await fetch(originOf(server) + path)).json()) as Record<string, unknown>;
      const urls = Object.entries(metadata).filter(([name]) => name.endsWith("_endpoint") || name === "jwks_uri");
      expect(urls.map(([name]) => name).sort()).toEqual([
        "authorization_endpoint",
        "introspection_endpoint",
        "jwks_uri",
        "revocation_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
      ]);
      for (const [name, url] of urls) {
        expect(new URL(String(url)).origin).toBe(originOf(server));
        const method = /token|introspection|revocation/.test(name) ? "POST" : "GET";
        const { status } = await fetch(String(url), { method, redirect: "manual" });
        expect([200, 400, 401], `${name} answers ${status}`).toContain(status);
      }
    });
  }

  test("links to keys without private parts", async ({ postgresServer: server }) => {
    const { keys } = (await (await fetch(`${originOf(server)}/.well-known/jwks.json`)).json()) as { keys: Record<string, unknown>[] };
    expect(keys).toHaveLength(1);
    expect(Object.keys(keys[0] ?? {}).filter((name) => ["d", "p", "q", "dp", "dq", "qi", "k"].includes(name))).toEqual([]);
  });
});

test.describe("revocation", () => {
  const revoke = (server: PostgresServer, as: Client, token: string, over: Record<string, string> = {}) =>
    formPost(server, "/oauth/revoke", as, { token, ...over });

  test("is 200 for an unknown token", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    expect((await revoke(server, client, "x".repeat(43))).status).toBe(200);
    for (const hint of ["access_token", "refresh_token", "no such"])
      expect((await revoke(server, client, "x".repeat(43), { token_type_hint: hint })).status, hint).toBe(200);
  });

  test("leaves another client's token untouched", async ({ postgresServer: server }) => {
    const { client, access_token, refresh_token } = await tokens(server);
    const stranger = await makeClient(server.db);
    for (const token of [access_token, refresh_token]) expect((await revoke(server, stranger, token)).status).toBe(200);
    expect((await introspect(server, client, access_token)).active).toBe(true);
    expect((await refresh(server, client, refresh_token)).status).toBe(200);
  });

  test("of the refresh token ends the access token", async ({ postgresServer: server }) => {
    const { client, access_token, refresh_token } = await tokens(server);
    expect((await revoke(server, client, refresh_token)).status).toBe(200);
    expect(await introspect(server, client, access_token)).toEqual(INACTIVE);
    expect((await userinfo(server, access_token)).status).toBe(401);
    expectRefused(await refresh(server, client, refresh_token), "invalid_grant");
  });

  test("of an access token ends it at once", async ({ postgresServer: server }) => {
    const { client, access_token } = await tokens(server);
    expect((await revoke(server, client, access_token)).status).toBe(200);
    expect(await introspect(server, client, access_token)).toEqual(INACTIVE);
    expect((await userinfo(server, access_token)).status).toBe(401);
  });
});

test.describe('introspection says exactly {"active":false}', () => {
  test("for unknown tokens", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    for (const token of ["x", "x".repeat(43), client.key, client.secret, client.clientId])
      expect(await introspect(server, client, token), token).toEqual(INACTIVE);
  });

  test("for expired ones", async ({ postgresServer: server }) => {
    const { client, person, access_token, refresh_token } = await tokens(server);
    for (const [kind, token] of [
      ["AccessToken", access_token],
      ["RefreshToken", refresh_token],
    ] as const) {
      expect((await introspect(server, client, token)).active).toBe(true);
      await expire(server, kind, person.id);
      expect(await introspect(server, client, token), kind).toEqual(INACTIVE);
    }
  });

  test("for revoked ones", async ({ postgresServer: server }) => {
    const { client, access_token, refresh_token } = await tokens(server);
    await formPost(server, "/oauth/revoke", client, { token: refresh_token });
    for (const token of [access_token, refresh_token]) expect(await introspect(server, client, token)).toEqual(INACTIVE);
  });

  test("for foreign ones, and to a public client for its own", async ({ postgresServer: server }) => {
    const { access_token, refresh_token } = await tokens(server);
    const stranger = await makeClient(server.db);
    for (const token of [access_token, refresh_token]) expect(await introspect(server, stranger, token)).toEqual(INACTIVE);
    const { client: spa, issued } = await issue(server, { publicClient: true });
    const own = (await redeem(server, spa, issued, {}, { auth: "none" })).json.access_token as string;
    expect((await formPost(server, "/oauth/introspect", spa, { token: own }, { auth: "none" })).json).toEqual(INACTIVE);
  });

  test("for refresh tokens that were rotated", async ({ postgresServer: server }) => {
    const { client, refresh_token } = await tokens(server);
    await refresh(server, client, refresh_token);
    expect(await introspect(server, client, refresh_token)).toEqual(INACTIVE);
  });

  test("and of a valid one only what an app may know", async ({ postgresServer: server }) => {
    const { client, person, access_token } = await tokens(server, "credits.read");
    expect(await introspect(server, client, access_token)).toMatchObject({
      active: true,
      client_id: client.clientId,
      sub: person.id,
      scope: "credits.read",
      token_type: "Bearer",
    });
  });
});

test.describe("codes, tokens and secrets", () => {
  test("have 128 bits or more", async ({ postgresServer: server }) => {
    const { issued, access_token, refresh_token } = await tokens(server);
    // A character of base64url has 6 bits.
    for (const secret of [issued.code, access_token, refresh_token]) {
      expect(secret).toMatch(/^[\w-]+$/);
      expect(secret.length * 6).toBeGreaterThanOrEqual(128);
    }
    const again = await tokens(server);
    expect(new Set([issued.code, again.issued.code, access_token, again.access_token, refresh_token, again.refresh_token]).size).toBe(6);

    const developer = await makePerson(server.db);
    const visitor = new Visitor(server);
    await visitor.signIn(developer);
    const made = await visitor.postJson("/api/trpc/apps.create", { json: { name: "Strong" } });
    const { clientSecret } = ((await made.json()) as { result: { data: { json: { clientSecret: string } } } }).result.data.json;
    // A character of base62 has a little less than 6 bits.
    expect(clientSecret.replace(/^quota_secret_/, "").length * Math.log2(62)).toBeGreaterThanOrEqual(128);
  });

  test("are hashed at rest", async ({ postgresServer: server }) => {
    const { client, person, issued, access_token, refresh_token } = await tokens(server);
    const unused = await codeFor(server, person, client);
    const tables = await server.db.prisma.$queryRaw<{ name: string }[]>`
      SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`;
    expect(tables.length).toBeGreaterThan(10);
    for (const { name } of tables) {
      const rows = await server.db.prisma.$queryRawUnsafe<{ row: string }[]>(`SELECT t::text AS row FROM "${name}" t`);
      const kept = rows.map(({ row }) => row).join("\n");
      for (const secret of [issued.code, unused.code, access_token, refresh_token, client.secret, client.key]) {
        expect(kept.includes(secret), `a secret in ${name}`).toBe(false);
        expect(kept.includes(Buffer.from(secret).toString("hex")), `a secret in ${name}, as bytes`).toBe(false);
      }
    }
  });

  test("are never logged, neither when they work nor when they are refused", async ({ postgresServer: server }) => {
    const { client, issued, access_token, refresh_token } = await tokens(server);
    await redeem(server, client, issued);
    await redeem(server, client, issued, {}, { secret: `${client.secret}-wrong` });
    await formPost(server, "/oauth/introspect", client, { token: access_token });
    await refresh(server, client, refresh_token);
    await userinfo(server, access_token);
    const { stdout, stderr } = server.output();
    for (const secret of [issued.code, issued.verifier, access_token, refresh_token, client.secret, client.key])
      expect(`${stdout}${stderr}`.includes(secret)).toBe(false);
  });
});

test.describe("an id_token", () => {
  /** The claims of an id_token whose signature was verified with the published key. */
  async function verified(server: PostgresServer, token: string) {
    const [head = "", body = "", signature = ""] = token.split(".");
    const header = JSON.parse(Buffer.from(head, "base64url").toString()) as { alg: string; kid: string };
    expect(header.alg).toBe("RS256");
    const jwks = (await (await fetch(`${originOf(server)}/.well-known/jwks.json`)).json()) as { keys: ({ kid: string } & object)[] };
    const key = jwks.keys.find(({ kid }) => kid === header.kid);
    expect(key).toBeDefined();
    const good = verify(
      "RSA-SHA256",
      Buffer.from(`${head}.${body}`),
      createPublicKey({ key: key as never, format: "jwk" }),
      Buffer.from(signature, "base64url"),
    );
    expect(good, "the signature").toBe(true);
    return JSON.parse(Buffer.from(body, "base64url").toString()) as Record<string, unknown>;
  }

  test("verifies against the JWKS, and its nonce, aud, iss and exp are right", async ({ postgresServer: server }) => {
    const { client, person, id_token } = await tokens(server, "openid", { authorize: { nonce: "the nonce" } });
    const claims = await verified(server, String(id_token));
    expect(claims).toMatchObject({ nonce: "the nonce", aud: client.clientId, iss: originOf(server), sub: person.id });
    expect(Number(claims.exp) - Number(claims.iat)).toBe(3_600);
    expect(Math.abs(Number(claims.iat) - Date.now() / 1000)).toBeLessThan(60);
  });

  test("has no nonce when none was sent, and is not issued without openid", async ({ postgresServer: server }) => {
    const { id_token } = await tokens(server, "openid");
    expect(await verified(server, String(id_token))).not.toHaveProperty("nonce");
    expect((await tokens(server, "credits.read")).id_token).toBeUndefined();
  });

  test("has the sub of userinfo, which has only what was granted", async ({ postgresServer: server }) => {
    const { person, access_token, id_token } = await tokens(server, "openid email");
    const { sub } = await verified(server, String(id_token));
    expect(await (await userinfo(server, access_token)).json()).toEqual({ sub, email: person.email });
    const bare = await tokens(server, "openid");
    expect(await (await userinfo(server, bare.access_token)).json()).toEqual({ sub: bare.person.id });
    expect((await userinfo(server, "x".repeat(43))).status).toBe(401);
  });

  test("of a refresh verifies too, for the same user and sign-in", async ({ postgresServer: server }) => {
    const { client, person, id_token, refresh_token } = await tokens(server, "openid", { authorize: { max_age: "3600" } });
    const renewed = (await refresh(server, client, refresh_token)).json;
    const [before, after] = [await verified(server, String(id_token)), await verified(server, renewed.id_token)];
    expect(before.auth_time).toBeGreaterThan(0);
    expect(after).toMatchObject({ sub: person.id, aud: client.clientId, auth_time: before.auth_time });
  });
});

test.describe("hosted storage", () => {
  test("replies with no token", async ({ postgresServer: server }) => {
    const { client, person, issued } = await issue(server, {}, "openid email credits.read credits.spend");
    const answer = await redeem(server, client, issued, { ...HOSTED, external_user_id: "their-1" });
    expect(Object.keys(answer.json).sort()).toEqual(["external_user_id", "linked_at", "scope", "storage_mode", "user"]);
    expect(answer.json).toMatchObject({ ...HOSTED, external_user_id: "their-1", user: { id: person.id, email: person.email } });
    const records = { payload: { path: ["accountId"], equals: person.id } };
    expect(await server.db.prisma.oAuthRecord.count({ where: records }), "tokens and grants left").toBe(0);
  });

  test("refuses an unknown storage_mode, and the code still works", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server);
    for (const mode of ["somewhere", "HOSTED", "hosted "]) {
      expectRefused(await redeem(server, client, issued, { storage_mode: mode }), "invalid_request", mode);
    }
    expect((await redeem(server, client, issued, HOSTED)).status).toBe(200);
  });

  test("refuses a public client", async ({ postgresServer: server }) => {
    const { client, issued } = await issue(server, { publicClient: true });
    expectRefused(await redeem(server, client, issued, HOSTED, { auth: "none" }), "unauthorized_client");
    expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
  });

  test("refuses a new external_user_id with invisible characters, with a sentence, and accepts one that the app has used before", async ({
    postgresServer: server,
  }) => {
    const { client, person, issued } = await issue(server);
    const old = "an\u200dn";
    await makeLink(server.db, client.appId, person, { externalUserId: old });
    for (const id of ["ann\u202e", "\u2066ann", "an\u200bn", "\u200eann"]) {
      const refused = await redeem(server, client, issued, { ...HOSTED, external_user_id: id });
      expectRefused(refused, "invalid_request", JSON.stringify(id));
      expect(refused.json.error_description).toMatch(/^external_user_id must be printable characters/);
    }
    expect((await redeem(server, client, issued, { ...HOSTED, external_user_id: old })).json.external_user_id).toBe(old);
    expect((await call(server, "/v1/balance", { key: client.key, user: `UTF-8''${encodeURIComponent(old)}` })).status).toBe(200);
    const emoji = await redeem(server, client, await codeFor(server, person, client), { ...HOSTED, external_user_id: "👩‍👩‍👧" });
    expect(emoji.status).toBe(200);
  });

  test("makes an external_user_id that only its app can see", async ({ postgresServer: server }) => {
    const { client, person, issued } = await issue(server);
    const id = `private-${crypto.randomUUID()}`;
    await redeem(server, client, issued, { ...HOSTED, external_user_id: id });
    expect((await call(server, `/v1/users/${id}`, { key: client.key })).status).toBe(200);

    // For another app the id does not exist, also when that app is linked to the same user.
    const stranger = await makeClient(server.db);
    await redeem(server, stranger, await codeFor(server, person, stranger), { ...HOSTED, external_user_id: "other" });
    const nowhere = `private-${crypto.randomUUID()}`;
    for (const [path, options] of [
      ["/v1/users/ID", {}],
      ["/v1/users/ID/link", { method: "DELETE" }],
      ["/v1/balance", { user: "ID" }],
      ["/v1/chat/completions", { user: "ID", body: chat("Hello") }],
    ] as const) {
      const ask = async (as: string) => {
        const user = "user" in options ? { user: as } : {};
        const answer = await call(server, path.replace("ID", as), { ...options, ...user, key: stranger.key });
        return [answer.status, answer.text.replaceAll(as, "ID").replaceAll(/req_\w+/g, "REQUEST")];
      };
      expect(await ask(id), path).toEqual(await ask(nowhere));
      expect((await ask(id))[0], path).toBe(404);
    }
    for (const path of ["/v1/users", "/v1/usage", "/v1/users/other"])
      expect((await call(server, path, { key: stranger.key })).text, path).not.toContain(id);
    expect((await call(server, `/v1/users/${id}`, { key: client.key })).status, "still there").toBe(200);
  });
});

test("an app's link has no scope that was not requested", async ({ postgresServer: server }) => {
  const client = await makeClient(server.db);
  const url = new URL(authorizeUrl(server, client, pkce().challenge, { scope: "openid nothing.known credits.read" }));
  const issued = await codeFor(server, await makePerson(server.db), client, {
    authorize: { scope: url.searchParams.get("scope") as string },
  });
  expect((await redeem(server, client, issued)).json.scope).toBe("openid credits.read");
});
