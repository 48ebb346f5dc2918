import { makeApp, makeKey, makeLink, makeUser } from "../../src/testing/makers.ts";
import { call, callRaw, chat } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

const path = "/v1/chat/completions";
const PRICE = 5n; // ten input and five output tokens, without markup

test.describe("who pays", () => {
  test("a developer key without a user bills the developer", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { developerBalance: 1_000n });
    const answer = await call(postgresServer, path, { key: world.key.secret, body: chat("hi") });
    expect(answer.status).toBe(200);
    expect(answer.json.quota).toEqual({ credits_used: 5, balance_after: 995, billing_mode: "developer" });
    expect(await world.developerBalance()).toBe(1_000n - PRICE);
    expect(await world.balance()).toBe(1_000_000n);
  });

  for (const billingMode of ["developer", "user"] as const) {
    test(`a ${billingMode} key with a user bills that user`, async ({ postgresServer }) => {
      const world = await arrange(postgresServer.db, { billingMode, developerBalance: 1_000n });
      const answer = await call(postgresServer, path, { ...world.as, body: chat("hi") });
      expect(answer.status).toBe(200);
      expect(answer.json.quota).toEqual({
        credits_used: 5,
        balance_after: 999_995,
        billing_mode: "user",
        external_user_id: world.link.externalUserId,
      });
      expect(await world.balance()).toBe(1_000_000n - PRICE);
      expect(await world.developerBalance()).toBe(1_000n);
    });

    test(`a ${billingMode} key with an unknown user is 404 and not billed`, async ({ postgresServer }) => {
      const world = await arrange(postgresServer.db, { billingMode, developerBalance: 1_000n });
      const answer = await call(postgresServer, path, { key: world.key.secret, user: "nobody", body: chat("hi") });
      expect([answer.status, answer.json.error.code]).toEqual([404, "not_found"]);
      expect(await world.usage()).toEqual([]);
      expect(await world.developerBalance()).toBe(1_000n);
    });
  }

  test("a user key without a user is 400 user_required", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { billingMode: "user", developerBalance: 1_000n });
    const answer = await call(postgresServer, path, { key: world.key.secret, body: chat("hi") });
    expect([answer.status, answer.json.error.code, answer.json.error.type]).toEqual([400, "user_required", "invalid_request_error"]);
    expect(await world.usage()).toEqual([]);
  });

  for (const user of [undefined, "anybody"]) {
    test(`a test key ${user === undefined ? "without" : "with"} a user bills sandbox credits, whatever the user`, async ({
      postgresServer,
    }) => {
      const world = await arrange(postgresServer.db, { billingMode: "test", developerBalance: 1_000n });
      const answer = await call(postgresServer, path, { key: world.key.secret, user, body: chat("hi") });
      expect(answer.status).toBe(200);
      expect(answer.headers.get("x-quota-simulated")).toBe("true");
      expect(answer.json.quota.billing_mode).toBe("test");
      expect(answer.json.quota.external_user_id).toBe(user);
      expect(answer.json.quota.credits_used).toBeGreaterThan(0);
      expect([await world.balance(), await world.developerBalance()]).toEqual([1_000_000n, 1_000n]);
    });
  }

  test("a test key gets 404 and 402 for the sandbox's ids", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { billingMode: "test" });
    const missing = await call(postgresServer, path, { key: world.key.secret, user: "sandbox_missing", body: chat("hi") });
    expect([missing.status, missing.json.error.code]).toEqual([404, "not_found"]);
    const empty = await call(postgresServer, path, { key: world.key.secret, user: "sandbox_empty", body: chat("hi") });
    expect([empty.status, empty.json.error.code]).toEqual([402, "insufficient_credits"]);
  });

  test("another app's external id and an unknown one get the same answer", async ({ postgresServer }) => {
    const mine = await arrange(postgresServer.db);
    const theirs = await arrange(postgresServer.db);
    const untold = (answer: { json: unknown; status: number }) => ({ status: answer.status, body: JSON.stringify(answer.json) });
    const strangers = await call(postgresServer, path, { key: mine.key.secret, user: theirs.link.externalUserId, body: chat("hi") });
    const nobodys = await call(postgresServer, path, { key: mine.key.secret, user: "user_000000000000", body: chat("hi") });
    expect(untold(strangers)).toEqual(untold(nobodys));
    expect(strangers.status).toBe(404);

    const lookups = await Promise.all(
      [theirs.link.externalUserId, "user_000000000000"].flatMap((id) => [
        call(postgresServer, `/v1/users/${id}`, { key: mine.key.secret }),
        call(postgresServer, `/v1/users/${id}/link`, { key: mine.key.secret, method: "DELETE" }),
      ]),
    );
    expect(new Set(lookups.map((lookup) => JSON.stringify(untold(lookup)))).size).toBe(1);
    expect((await call(postgresServer, `/v1/users/${theirs.link.externalUserId}`, { key: theirs.key.secret })).status).toBe(200);
    expect(await theirs.balance()).toBe(1_000_000n);
  });

  test("one wallet linked to two apps is billed by both, each under its own id", async ({ postgresServer }) => {
    const { db } = postgresServer;
    const person = await makeUser(db, { credits: 1_000n });
    for (const id of ["same", "same"]) {
      const app = await makeApp(db);
      const key = await makeKey(db, app.id, "user");
      await makeLink(db, app.id, person, { externalUserId: id });
      expect((await call(postgresServer, path, { key: key.secret, user: id, body: chat("hi") })).status).toBe(200);
    }
    const wallet = await db.prisma.account.findUniqueOrThrow({ where: { id: person.walletId } });
    expect(wallet.available).toBe(990n);
  });

  test("a model that the app or the user did not allow is 403", async ({ postgresServer }) => {
    for (const world of [
      await arrange(postgresServer.db, { allowedModels: ["gpt-4.1"] }),
      await arrange(postgresServer.db, { userAllows: ["gpt-4.1"] }),
    ]) {
      const answer = await call(postgresServer, path, { ...world.as, body: chat("hi") });
      expect([answer.status, answer.json.error.code, answer.json.error.param]).toEqual([403, "model_not_allowed", "model"]);
      expect(await world.usage()).toEqual([]);
    }
  });

  test("a model under another name is limited, billed and recorded as the one that it is", async ({ postgresServer }) => {
    for (const model of ["openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2024-07-18"]) {
      const strict = await arrange(postgresServer.db, { userAllows: ["gpt-4.1"] });
      const refused = await call(postgresServer, path, { ...strict.as, body: { ...chat("hi"), model } });
      expect([refused.status, refused.json.error.code]).toEqual([403, "model_not_allowed"]);
      expect(await strict.usage()).toEqual([]);

      const world = await arrange(postgresServer.db, { allowedModels: ["gpt-4o-mini"], userAllows: ["gpt-4o-mini"] });
      expect((await call(postgresServer, path, { ...world.as, body: { ...chat("hi"), model } })).status).toBe(200);
      const billed = await postgresServer.db.prisma.usage.findMany({ where: { appId: world.app.id }, select: { model: true, base: true } });
      expect(billed).toEqual([{ model: "gpt-4o-mini", base: PRICE }]);
    }
  });

  test("a user who is named in another header than X-Quota-User is 400, and no wallet is billed", async ({ postgresServer }) => {
    for (const billingMode of ["developer", "user", "test"] as const) {
      const world = await arrange(postgresServer.db, { billingMode, developerBalance: 1_000n });
      for (const name of ["X-External-User-ID", "X-User-Id"]) {
        const headers = { [name]: world.link.externalUserId };
        const answer = await call(postgresServer, path, { key: world.key.secret, headers, body: chat("hi") });
        expect([answer.status, answer.json.error.code, answer.json.error.param]).toEqual([400, "bad_request", "X-Quota-User"]);
        expect((await call(postgresServer, "/v1/balance", { key: world.key.secret, headers })).status).toBe(400);
        // Beside X-Quota-User such a header is not read.
        if (billingMode !== "test") expect((await call(postgresServer, "/v1/balance", { ...world.as, headers })).status).toBe(200);
      }
      expect(await world.usage()).toEqual([]);
    }
  });

  test("an unlinked user is refused from the next request on", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    expect((await call(postgresServer, path, { ...world.as, body: chat("hi") })).status).toBe(200);
    const unlinked = await call(postgresServer, `/v1/users/${world.as.user}/link`, { key: world.as.key, method: "DELETE" });
    expect([unlinked.status, unlinked.text]).toEqual([200, '{"success":true}']);
    expect((await call(postgresServer, path, { ...world.as, body: chat("hi") })).status).toBe(404);
    expect((await call(postgresServer, `/v1/users/${world.as.user}/link`, { key: world.as.key, method: "DELETE" })).status).toBe(404);
    // Account and balance stay.
    expect(await world.balance()).toBe(1_000_000n - PRICE);
  });
});

test.describe("external user ids", () => {
  const ids = [
    "a/b/c",
    "with space",
    "josé",
    "日本語",
    "🦊 fox",
    "%2F",
    "100%",
    "a+b=c&d",
    '"quoted"',
    "back\\slash",
    "..",
    "null",
    "a;b,c",
    "{curly}",
    "x".repeat(255),
    "🦊".repeat(60),
  ];
  for (const id of ids) {
    test(`${JSON.stringify(id.length > 40 ? `${id.slice(0, 10)}… (${id.length})` : id)} works in header, path and reply`, async ({
      postgresServer,
    }) => {
      const world = await arrange(postgresServer.db, { externalUserId: id });
      const key = world.key.secret;
      // Header values have no character set; text beyond ASCII names its own (RFC 8187).
      const user = /^[\x20-\x7e]+$/.test(id) ? id : `UTF-8''${encodeURIComponent(id)}`;
      const paid = await callRaw(postgresServer, path, { key, user, body: chat("hi") });
      expect([paid.status, paid.json.quota?.external_user_id]).toEqual([200, id]);
      const looked = await callRaw(postgresServer, `/v1/users/${encodeURIComponent(id)}`, { key });
      expect([looked.status, looked.json.user?.balance]).toEqual([200, 999_995]);
      const listed = await call(postgresServer, "/v1/users", { key });
      expect(listed.json.data.map((each: { external_user_id: string }) => each.external_user_id)).toEqual([id]);
      const used = await call(postgresServer, `/v1/usage?external_user_id=${encodeURIComponent(id)}`, { key });
      expect(used.json.data).toHaveLength(1);
      const unlinked = await callRaw(postgresServer, `/v1/users/${encodeURIComponent(id)}/link`, { key, method: "DELETE" });
      expect(unlinked.status).toBe(200);
    });
  }

  test("the bytes of one user's id never name another user: ids beyond ASCII need the encoding of RFC 8187", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { externalUserId: "élodie" });
    // fetch sends the id `Ã©lodie` with the bytes of `élodie` in UTF-8.
    const answer = await call(postgresServer, path, { key: world.key.secret, user: "Ã©lodie", body: chat("hi") });
    expect([answer.status, answer.json.error.param]).toEqual([400, "X-Quota-User"]);
    expect(await world.usage()).toEqual([]);
  });

  for (const [what, id] of [
    ["300 characters", "x".repeat(300)],
    ["256 characters", "x".repeat(256)],
    ["a tab", "a\tb"],
    ["an empty id", ""],
  ] as const) {
    test(`${what} in X-Quota-User is 400 and names the header`, async ({ postgresServer }) => {
      const world = await arrange(postgresServer.db, { developerBalance: 1_000n });
      const answer = await callRaw(postgresServer, path, { key: world.key.secret, user: id, body: chat("hi") });
      expect([answer.status, answer.json.error.code, answer.json.error.param]).toEqual([400, "bad_request", "X-Quota-User"]);
      expect(await world.usage()).toEqual([]);
    });
  }

  for (const segment of ["x".repeat(300), "a%00b", "a%09b", "%ff", "%zz", "%ED%A0%80"]) {
    test(`/v1/users/${segment.slice(0, 12)} is 404`, async ({ postgresServer }) => {
      const world = await arrange(postgresServer.db);
      for (const [method, tail] of [
        ["GET", ""],
        ["DELETE", "/link"],
      ] as const) {
        const answer = await callRaw(postgresServer, `/v1/users/${segment}${tail}`, { key: world.key.secret, method });
        expect([answer.status, answer.json.error.code]).toEqual([404, "not_found"]);
      }
    });
  }
});
