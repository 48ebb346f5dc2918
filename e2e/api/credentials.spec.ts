import { revoke } from "../../src/server/apps/api-keys.ts";
import { makeKey } from "../../src/testing/makers.ts";
import { call, chat } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

const path = "/v1/chat/completions";
const unknown = `sk-quota-${"0".repeat(32)}`;

test("all faults of a credential get the same answer", async ({ postgresServer }) => {
  const { db } = postgresServer;
  const world = await arrange(db);
  const revoked = await makeKey(db, world.app.id);
  expect((await call(postgresServer, "/v1/me", { key: revoked.secret })).status).toBe(200);
  await revoke(db.prisma, world.app.id, revoked.id);
  const expired = await makeKey(db, world.app.id);
  await db.prisma.apiKey.update({ where: { id: expired.id }, data: { expiresAt: new Date(Date.now() - 1_000) } });

  const headers: Record<string, string>[] = [
    {},
    { authorization: "" },
    { authorization: "Bearer" },
    { authorization: "Bearer " },
    { authorization: `Basic ${Buffer.from(`${world.as.key}:`).toString("base64")}` },
    { authorization: world.as.key },
    { authorization: `Bearer ${world.as.key} extra` },
    { authorization: `Bearer ${world.as.key.slice(0, -1)}` },
    { authorization: `Bearer ${world.as.key.toUpperCase()}` },
    { authorization: `Bearer ${unknown}` },
    { authorization: `Bearer ${revoked.secret}` },
    { authorization: `Bearer ${expired.secret}` },
    { authorization: `Bearer sk-quota-${"é".repeat(16)}` },
    { "x-api-key": unknown },
    { "x-api-key": "" },
    { authorization: "Bearer wrong", "x-api-key": world.as.key },
  ];
  const bodies = new Set<string>();
  for (const each of headers) {
    for (const [target, body] of [
      [path, chat("hi")],
      ["/v1/users", undefined],
      ["/v1/balance", undefined],
    ] as const) {
      const answer = await call(postgresServer, target, { headers: each, body });
      expect([answer.status, answer.json.error.code, answer.json.error.type], JSON.stringify(each)).toEqual([
        401,
        "invalid_api_key",
        "authentication_error",
      ]);
      expect(answer.headers.get("www-authenticate")).toBe('Bearer realm="quota"');
      bodies.add(answer.text);
    }
  }
  expect(bodies.size).toBe(1);
  expect(await world.usage()).toEqual([]);
});

test("a key works as Bearer in any case and as X-API-Key", async ({ postgresServer }) => {
  const world = await arrange(postgresServer.db);
  const { key } = world.as;
  const spellings: Record<string, string>[] = [
    { authorization: `Bearer ${key}` },
    { authorization: `bearer ${key}` },
    { authorization: `BEARER  ${key}` },
    { "x-api-key": key },
  ];
  for (const headers of spellings) {
    expect((await call(postgresServer, "/v1/balance", { headers })).status).toBe(200);
    expect((await call(postgresServer, path, { headers, user: world.as.user, body: chat("hi") })).status).toBe(200);
  }
});

test("a wrong key is 401 whatever else is wrong", async ({ postgresServer }) => {
  const wrongs: [string, Parameters<typeof call>[2]][] = [
    [path, { body: "{" }],
    [path, { body: chat("hi", { model: "gpt-99" }) }],
    [path, { body: chat("hi", { max_tokens: -1 }) }],
    [path, { body: chat("hi"), user: "" }],
    [path, { body: chat("hi"), user: "x".repeat(300) }],
    [path, { body: chat("hi"), user: "nobody" }],
    [path, { body: chat("hi"), headers: { "idempotency-key": "é" } }],
    [path, { body: chat("hi"), headers: { "idempotency-key": "one" } }],
    ["/v1/embeddings", { body: {} }],
    ["/v1/users?limit=0", {}],
    [`/v1/users/${"x".repeat(300)}`, {}],
    ["/v1/users/nobody/link", { method: "DELETE" }],
    ["/v1/usage?start=never", {}],
    ["/v1/funding/credit", { body: "{" }],
    ["/v1/funding/credit", { body: {} }],
  ];
  for (const [target, options] of wrongs) {
    for (const key of [unknown, "nonsense", undefined]) {
      const answer = await call(postgresServer, target, { ...options, key });
      expect([target, answer.status, answer.json.error.code]).toEqual([target, 401, "invalid_api_key"]);
    }
  }
});

test("a revoked key is refused from the next request on", async ({ postgresServer }) => {
  const { db } = postgresServer;
  const world = await arrange(db);
  expect((await call(postgresServer, path, { ...world.as, body: chat("hi") })).status).toBe(200);
  await revoke(db.prisma, world.app.id, world.key.id);
  expect((await call(postgresServer, path, { ...world.as, body: chat("hi") })).status).toBe(401);
  expect(await world.usage()).toHaveLength(1);
});

test("models need no key", async ({ postgresServer }) => {
  expect((await call(postgresServer, "/v1/models")).status).toBe(200);
  expect((await call(postgresServer, "/v1/models", { key: unknown })).status).toBe(200);
});
