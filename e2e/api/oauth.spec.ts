import { call, chat } from "../client.ts";
import { expect, test } from "../fixtures.ts";
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
  type Person,
  pkce,
  redeem,
  refresh,
  tokens,
  Visitor,
} from "../oauth.ts";

test.describe("the consent page", () => {
  test("asks a signed-out user to sign in first", async ({ postgresServer: server }) => {
    const visitor = new Visitor(server);
    const page = await visitor.begin(authorizeUrl(server, await makeClient(server.db), pkce().challenge));
    expect((await visitor.get(page)).headers.get("location")).toBe(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
    const answer = await visitor.post(`${page}/decision`, { decision: "allow" });
    expect(answer.headers.get("location")).toBe(`/sign-in?callbackUrl=${encodeURIComponent(page)}`);
  });

  test("refuses an invalid limit, and asks again when the markup has changed since the page was shown", async ({
    postgresServer: server,
  }) => {
    const client = await makeClient(server.db, { markupBps: 100 });
    const visitor = new Visitor(server);
    await visitor.signIn(await makePerson(server.db));
    const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge));
    const token = await visitor.token(page);
    for (const limit of ["", "0", "-5", "a lot", "1.2345678", `5${" ".repeat(30)}x`, "5\u0000", `${"x".repeat(18)}😀😀`]) {
      const answer = await visitor.post(`${page}/decision`, { decision: "allow", limited: "yes", limit, token });
      expect(answer.headers.get("location")).toBe(page);
      expect(await (await visitor.get(page)).text()).toContain("Write an amount above zero");
    }
    // The other fields stay filled in.
    await visitor.post(`${page}/decision`, { decision: "allow", limited: "yes", limit: "x", model: "gpt-4o-mini", token });
    expect(tickedOn(await (await visitor.get(page)).text())).toEqual(["gpt-4o-mini"]);
    const gone = await visitor.post(`${page}/decision`, { decision: "allow", limited: "no", model: "no-such-model", token });
    expect(gone.headers.get("location"), "models that are gone are not any model").toBe(`${page}?again=1`);
    expect(await (await visitor.get(`${page}?again=1`)).text()).toContain("None of the models you chose is there any more");
    await server.db.prisma.app.update({ where: { id: client.appId }, data: { markupBps: 90_000 } });
    const answer = await visitor.post(`${page}/decision`, { decision: "allow", limited: "no", token });
    expect(answer.headers.get("location")).toBe(`${page}?again=1`);
  });

  test("shows a filled-in form again only to the same user in the same browser", async ({ postgresServer: server }) => {
    const [person, other] = [await makePerson(server.db), await makePerson(server.db)];
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const page = await visitor.begin(authorizeUrl(server, await makeClient(server.db), pkce().challenge));
    const token = await visitor.token(page);
    const form = { decision: "allow", limited: "yes", limit: "0.75", model: "gpt-4o-mini", token };
    const asked = async (who: Visitor) => {
      const html = await (await who.get(page)).text();
      return [/<input[^>]* name="limit"[^>]* value="([^"]*)"/.exec(html)?.[1], tickedOn(html)];
    };
    const untouched = ["$5.00", []];
    const sendSignedOut = async (over: Record<string, string>, headers: Record<string, string> = {}) => {
      visitor.signOut();
      await visitor.post(`${page}/decision`, { ...form, ...over }, headers);
    };
    // Without the request's cookie, from another site, or with a token of another page.
    await new Visitor(server).post(`${page}/decision`, form);
    await sendSignedOut({}, { "sec-fetch-site": "cross-site" });
    await visitor.signIn(person);
    expect(await asked(visitor)).toEqual(untouched);
    await sendSignedOut({ token: `0.${"x".repeat(43)}` });
    await visitor.signIn(person);
    expect(await asked(visitor)).toEqual(untouched);
    await sendSignedOut({});
    await visitor.signIn(other);
    expect(await asked(visitor)).toEqual(untouched);
    await visitor.signIn(person);
    expect(await asked(visitor)).toEqual(["$0.75", ["gpt-4o-mini"]]);
  });
});

/** The models that are ticked on a consent page. */
function tickedOn(html: string): string[] {
  const boxes = [...html.matchAll(/<input[^>]*>/g)].map(([box]) => box).filter((box) => box.includes('name="model"'));
  return boxes.filter((box) => box.includes('checked=""')).map((box) => /value="([^"]*)"/.exec(box)?.[1] ?? "");
}

test.describe("hosted storage", () => {
  test("a code becomes a linked user with the user's decision, and no token leaves the server", async ({ postgresServer: server }) => {
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
    // Another app's id, and another app's user, are not visible.
    const stranger = await makeClient(db);
    expect((await call(server, "/v1/users/their-7", { key: stranger.key })).status).toBe(404);
  });

  test("makes an id when the app names none", async ({ postgresServer: server }) => {
    const client = await makeClient(server.db);
    const answer = await redeem(server, client, await codeFor(server, await makePerson(server.db), client), HOSTED);
    expect(answer.json.external_user_id).toMatch(/^user_[0-9a-f-]{36}$/);
    expect((await call(server, `/v1/users/${answer.json.external_user_id}`, { key: client.key })).status).toBe(200);
  });

  test("refuses unsupported parameters, and the code still works", async ({ postgresServer: server }) => {
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

    const reading = await codeFor(server, person, client, { authorize: { scope: "credits.read" } });
    expect((await redeem(server, client, reading, HOSTED)).json.error).toBe("invalid_scope");
  });

  test("the same wallet again changes what was agreed; another wallet replaces it and emits user.disconnected", async ({
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

  test("connecting and unlinking at the same time ends in one of the two", async ({ postgresServer: server }) => {
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

  test("a user whose account was deleted after consent is not linked", async ({ postgresServer: server }) => {
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

  test("refreshed, revoked and unlinked at once cause no error, and no token stays valid", async ({ postgresServer: server }) => {
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

test("on the embedded database the whole flow works too, with ten redemptions at once", async ({ simulatedServer: server }) => {
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
