import { createHmac } from "node:crypto";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as Svix } from "svix";
import { makeKey } from "../../src/testing/makers.ts";
import { answer, hang, type Received, type Receiver, startReceiver } from "../../src/testing/receiver.ts";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import { completion, usage } from "../../src/testing/upstream-answers.ts";
import { type Call, call, chat, marker } from "../client.ts";
import { test as base, expect } from "../fixtures.ts";
import { arrange } from "../world.ts";

const test = base.extend<{ receiver: Receiver }>({
  // biome-ignore lint/correctness/noEmptyPattern: Playwright reads what a fixture needs from this pattern.
  receiver: async ({}, use) => {
    const receiver = await startReceiver();
    await use(receiver);
    await receiver.close();
  },
});

const ALL = ["user.connected", "user.disconnected", "usage.completed", "balance.updated", "balance.low"];

async function subscribe(server: Pick<ServerProcess, "url">, key: string, body: object) {
  const made = await call(server, "/v1/webhooks", { key, body });
  expect(made.status, made.text).toBe(200);
  return made.json as { id: string; secret: string; url: string };
}

function verified(secret: string, { headers, body }: Received) {
  new Svix(secret).verify(body, headers);
  expect(createHmac("sha256", secret).update(body).digest("hex")).toBe(headers["x-quota-signature"]);
  // biome-ignore lint/suspicious/noExplicitAny: a test asserts on whatever came
  return new StandardWebhook(secret).verify(body, headers) as { type: string; data: any };
}

for (const home of ["embedded", "Postgres"] as const) {
  test(`on ${home}: what a linked user does arrives, signed, at the app's endpoint`, async ({ start, upstream, receiver, ownDatabase }) => {
    test.slow();
    const server = await start({ upstream, ...(home === "Postgres" ? { databaseUrl: ownDatabase.url } : {}) });
    const key = server.demo.api_keys.user;
    const user = server.demo.user.external_user_id;
    // The demo user's user.connected may still be pending when the endpoint is created.
    const events = ALL.filter((type) => type !== "user.connected");
    const { secret } = await subscribe(server, key, { url: `${receiver.url}/hook`, events, balance_low_threshold: 10_000_000 });
    const text = marker();
    using _ = upstream.on(text, completion({ usage: usage(1_000, 100) }));
    const bought = await call(server, "/v1/chat/completions", { key, user, body: chat(text) });
    expect(bought.status).toBe(200);
    await call(server, `/v1/users/${user}/link`, { key, method: "DELETE" });
    await expect.poll(() => receiver.received.length, { timeout: 30_000 }).toBe(4);
    const bodies = new Map(receiver.received.map((each) => verified(secret, each)).map((body) => [body.type, body.data]));
    const { credits_used, balance_after } = bought.json.quota;
    const who = { user_id: expect.any(String), external_user_id: user };
    expect(bodies.get("usage.completed")).toEqual({
      ...who,
      request_id: bought.headers.get("x-request-id"),
      model: "gpt-4o-mini",
      prompt_tokens: 1_000,
      completion_tokens: 100,
      total_tokens: 1_100,
      credits_used,
    });
    expect(bodies.get("balance.updated")).toEqual({
      ...who,
      new_balance: balance_after,
      amount_spent: credits_used,
      model: "gpt-4o-mini",
      endpoint: "/v1/chat/completions",
    });
    expect(bodies.get("balance.low")).toEqual({ ...who, current_balance: balance_after, threshold: 10_000_000 });
    expect(bodies.get("user.disconnected")).toEqual({ ...who, disconnected_at: expect.any(String), reason: "app" });
    // No delivery has a user's email.
    expect(receiver.received.filter(({ body }) => body.includes("@"))).toEqual([]);
  });
}

test("endpoints are created, listed, changed and deleted; only the first answer has the secret", async ({
  postgresServer: server,
  receiver,
}) => {
  const { key } = (await arrange(server.db)).as;
  const made = await subscribe(server, key, { url: `${receiver.url}/hook`, events: ["user.connected"], description: "mine" });
  expect(made).toMatchObject({
    id: expect.stringMatching(/^whk_[0-9a-f]{32}$/),
    secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]+=*$/),
    events: ["user.connected"],
    balance_low_threshold: 100_000,
    enabled: true,
    sandbox: false,
    notice: null,
  });
  const { secret, ...shown } = made;
  const path = `/v1/webhooks/${made.id}`;
  expect((await call(server, "/v1/webhooks", { key })).json).toEqual({ data: [shown], has_more: false });
  expect((await call(server, path, { key })).json).toEqual(shown);

  const change = (body: object) => call(server, path, { key, method: "PATCH", body });
  expect((await change({ events: ["balance.low", "balance.low"], balance_low_threshold: 5, enabled: false })).json).toMatchObject({
    events: ["balance.low"],
    balance_low_threshold: 5,
    enabled: false,
    disabled_reason: "owner",
    description: "mine",
  });
  expect((await call(server, `${path}/test`, { key, body: {} })).json.error.message).toContain("disabled");
  expect((await change({ enabled: true, description: null })).json).toMatchObject({ enabled: true, disabled_at: null, description: null });
  const rotated = (await change({ rotate_secret: true })).json;
  expect(rotated.secret).toMatch(/^whsec_/);
  expect(rotated.secret).not.toBe(secret);
  const until = new Date(rotated.former_secret_until).getTime() - Date.now();
  expect([until > 23.9 * 3_600_000, until < 24.1 * 3_600_000]).toEqual([true, true]);
  expect((await change({ rotate_secret: true, overlap_seconds: 0 })).json.former_secret_until).toBe(null);

  expect((await call(server, path, { key, method: "DELETE" })).json).toEqual({ success: true });
  for (const method of ["GET", "DELETE"]) expect((await call(server, path, { key, method })).status).toBe(404);
});

test("a request that is repeated with its Idempotency-Key is carried out once, and the secret in its answer is kept encrypted", async ({
  postgresServer: server,
  receiver,
}) => {
  const { key } = (await arrange(server.db)).as;
  const unique = marker();
  const ask = async (path: string, rest: Call) => {
    const idempotency = { headers: { "idempotency-key": `${unique}${path.length}` } };
    const [first, again] = [
      await call(server, path, { key, ...idempotency, ...rest }),
      await call(server, path, { key, ...idempotency, ...rest }),
    ];
    expect([first.status, first.headers.get("idempotency-replayed")], first.text).toEqual([200, null]);
    expect([again.status, again.headers.get("idempotency-replayed"), again.text]).toEqual([200, "true", first.text]);
    return first.json;
  };
  const body = { url: `${receiver.url}/hook`, events: ["user.connected"] };
  const { secret, ...shown } = await ask("/v1/webhooks", { body });
  expect((await call(server, "/v1/webhooks", { key })).json.data).toEqual([shown]);
  const records = await server.db.prisma.idempotencyRecord.findMany({ where: { key: { contains: unique } } });
  expect(records.map((record) => Buffer.from(record.body ?? []).includes("whsec_"))).toEqual([false]);
  const other = await call(server, "/v1/webhooks", {
    key,
    headers: { "idempotency-key": `${unique}${"/v1/webhooks".length}` },
    body: { ...body, description: "another" },
  });
  expect([other.status, other.json.error.code]).toEqual([409, "idempotency_conflict"]);

  const path = `/v1/webhooks/${shown.id}`;
  const sent = await ask(`${path}/test`, { body: {} });
  const read = async () => (await call(server, `${path}/deliveries/${sent.id}`, { key })).json;
  await expect.poll(async () => (await read()).status).toBe("succeeded");
  expect(receiver.received.map((each) => verified(secret, each).type)).toEqual(["user.connected"]);
  expect((await call(server, `${path}/deliveries`, { key })).json.data.map(({ id }: { id: string }) => id)).toEqual([sent.id]);
  await ask(`${path}/deliveries/${sent.id}/retry`, { method: "POST" });
  await expect.poll(async () => (await read()).status).toBe("succeeded");
  expect(receiver.received).toHaveLength(2);
});

test("bad input is refused with the field's name, and addresses that are not public are refused", async ({ postgresServer: server }) => {
  const { key } = (await arrange(server.db)).as;
  const good = { url: "https://example.com/hook", events: ["user.connected"] };
  const refused = async (body: unknown) => {
    const { status, json } = await call(server, "/v1/webhooks", { key, body });
    return [status, json.error?.code, json.error?.param];
  };
  for (const [field, value] of [
    ["url", undefined],
    ["url", "example.com"],
    ["url", "ftp://example.com/"],
    ["url", "https://user:pass@example.com/"],
    ["url", "https://example.com/#part"],
    ["url", "http://10.0.0.1/"],
    ["url", "http://169.254.169.254/latest/meta-data"],
    ["url", "http://[::ffff:192.168.0.1]/"],
    ["url", "http://167772161/"],
    ["url", `https://example.com/${"x".repeat(2_000)}`],
    ["events", []],
    ["balance_low_threshold", 0],
    ["balance_low_threshold", 1.5],
    ["unknown", 1],
  ] as const)
    expect(await refused({ ...good, [field]: value }), `${field} ${value}`).toEqual([400, "bad_request", field]);
  expect((await refused({ ...good, events: ["user.exploded"] }))[2]).toBe("events.0");
  expect(await refused("{")).toEqual([400, "bad_request", null]);
  expect((await call(server, "/v1/webhooks", { key })).json.data).toEqual([]);
  const made = await Promise.all(Array.from({ length: 22 }, () => call(server, "/v1/webhooks", { key, body: good })));
  expect(made.map(({ status }) => status).sort()).toEqual([...Array(20).fill(200), 400, 400]);
});

test("a key sees and changes only its own app's endpoints, and a test key only those of the sandbox", async ({
  postgresServer: server,
  receiver,
}) => {
  const world = await arrange(server.db);
  const stranger = (await arrange(server.db)).as.key;
  const play = (await makeKey(server.db, world.app.id, "test")).secret;
  const live = await subscribe(server, world.as.key, { url: `${receiver.url}/live`, events: ALL });
  const sandbox = await subscribe(server, play, { url: `${receiver.url}/sandbox`, events: ALL });
  const delivery = (await call(server, `/v1/webhooks/${live.id}/test`, { key: world.as.key, body: {} })).json;
  for (const [key, id] of [
    [stranger, live.id],
    [play, live.id],
    [world.as.key, sandbox.id],
    [world.as.key, "whk_00000000000000000000000000000000"],
    [world.as.key, "nonsense"],
  ] as const) {
    const asks: [string, Call][] = [
      ["", {}],
      ["", { method: "PATCH", body: { enabled: false } }],
      ["", { method: "DELETE" }],
      ["/test", { body: {} }],
      ["/deliveries", {}],
      [`/deliveries/${delivery.id}`, {}],
      [`/deliveries/${delivery.id}/retry`, { method: "POST" }],
    ];
    for (const [rest, ask] of asks)
      expect((await call(server, `/v1/webhooks/${id}${rest}`, { key, ...ask })).status, `${id}${rest}`).toBe(404);
  }
  const ids = async (key: string) => (await call(server, "/v1/webhooks", { key })).json.data.map(({ id }: { id: string }) => id);
  expect([await ids(world.as.key), await ids(play), await ids(stranger)]).toEqual([[live.id], [sandbox.id], []]);
  expect((await call(server, "/v1/webhooks")).status).toBe(401);
});

test("a test event arrives, is logged with request and answer, and can be sent again", async ({ postgresServer: server, receiver }) => {
  const { key } = (await arrange(server.db)).as;
  receiver.behave("/hook", answer(418, "no\u0000teapot"));
  const { id, secret } = await subscribe(server, key, { url: `${receiver.url}/hook`, events: ["balance.low"] });
  const path = `/v1/webhooks/${id}`;
  const sent = (await call(server, `${path}/test`, { key, body: {} })).json;
  expect(sent).toMatchObject({ status: "pending", type: "balance.low" });
  const read = async () => (await call(server, `${path}/deliveries/${sent.id}`, { key })).json;
  await expect.poll(async () => (await read()).attempts).toBe(1);
  expect(await read()).toMatchObject({
    status: "pending",
    last_response_status: 418,
    last_error: "answered 418",
    next_attempt_at: expect.any(String),
    request_body: receiver.received[0]?.body,
    log: [{ url: `${receiver.url}/hook`, response_status: 418, response_body: "no\uFFFDteapot", duration_ms: expect.any(Number) }],
  });
  receiver.behave("/hook", answer(200, "thanks"));
  expect((await call(server, `${path}/deliveries/${sent.id}/retry`, { key, method: "POST" })).json.status).toBe("pending");
  await expect.poll(async () => (await read()).status).toBe("succeeded");
  expect((await read()).log.map((each: { response_body: string }) => each.response_body)).toEqual(["thanks", "no\uFFFDteapot"]);
  expect(new Set(receiver.received.map((each) => `${each.headers["webhook-id"]} ${verified(secret, each).type}`)).size).toBe(1);

  const other = (await call(server, `${path}/test`, { key, body: { type: "user.connected" } })).json;
  const list = async (query: string) =>
    (await call(server, `${path}/deliveries?${query}`, { key })).json.data.map((each: { id: string }) => each.id);
  expect([
    await list("limit=1"),
    await list(`limit=1&starting_after=${other.id}`),
    await list("type=user.connected"),
    await list("status=failed"),
  ]).toEqual([[other.id], [sent.id], [other.id], []]);
  expect((await call(server, `${path}/deliveries?starting_after=x`, { key })).json.error.param).toBe("starting_after");
  expect((await call(server, `${path}/test`, { key, body: { type: "x" } })).json.error.param).toBe("type");
  await expect.poll(() => receiver.received.length).toBe(3);
});

/** Completes this many requests at once; returns their request ids. */
async function buy(server: ServerProcess, as: { key: string; user: string }, text: string, many: number): Promise<string[]> {
  const answers = await Promise.all(
    Array.from({ length: many }, () => call(server, "/v1/chat/completions", { ...as, body: chat(text, { max_tokens: 100 }) })),
  );
  expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
  return answers.map(({ headers }) => headers.get("x-request-id") as string);
}

test.describe("kill -9 of the server", () => {
  const requestIds = (receiver: Receiver) => new Set(receiver.received.map(({ body }) => JSON.parse(body).data.request_id as string));

  test("on the embedded database: events of billed requests are delivered after the next start, also to a receiver that was down or slow", async ({
    start,
    upstream,
    receiver,
  }) => {
    test.slow();
    const env = { QUOTA_WEBHOOK_FIRST_RETRY_MS: "200" };
    const first = await start({ upstream, env });
    const as = { key: first.demo.api_keys.user, user: first.demo.user.external_user_id };
    await subscribe(first, as.key, { url: `${receiver.url}/hook`, events: ["usage.completed"] });
    const text = marker();
    using _ = upstream.on(text, completion());
    receiver.behave("/hook", hang);
    const bought = await buy(first, as, text, 20);
    // Some deliveries are under way, the others wait.
    await expect.poll(() => receiver.received.length).toBeGreaterThan(0);
    bought.push(...(await buy(first, as, text, 20)));
    await first.kill9();
    await receiver.down();
    const second = await start({ upstream, env, dataDir: first.dataDir });
    receiver.received.length = 0;
    receiver.behave("/hook", answer(204));
    await receiver.up();
    await expect.poll(() => bought.filter((id) => !requestIds(receiver).has(id)), { timeout: 30_000 }).toEqual([]);
    expect((await call(second, "/v1/me", { key: as.key })).status).toBe(200);
  });

  test("of one of two on a Postgres: the other one delivers all events, and only those under way twice", async ({
    start,
    upstream,
    receiver,
    ownDatabase,
  }) => {
    test.setTimeout(120_000);
    const { db, url } = ownDatabase;
    const world = await arrange(db);
    const env = { QUOTA_WEBHOOK_FIRST_RETRY_MS: "200", QUOTA_WEBHOOK_TIMEOUT_MS: "2000" };
    const one = await start({ upstream, databaseUrl: url, env });
    await subscribe(one, world.as.key, { url: `${receiver.url}/hook`, events: ["usage.completed"] });
    const text = marker();
    using _ = upstream.on(text, completion());
    receiver.behave("/hook", hang);
    const bought = await buy(one, world.as, text, 10);
    await expect.poll(() => receiver.received.length).toBeGreaterThan(0);
    const two = await start({ upstream, databaseUrl: url, env });
    await one.kill9();
    const underWay = requestIds(receiver);
    receiver.received.length = 0;
    receiver.behave("/hook", answer(204));
    bought.push(...(await buy(two, world.as, text, 50)));
    // As if the dead server's lease had ended.
    await db.prisma.webhookDelivery.updateMany({
      where: { status: "pending", leasedUntil: { not: null } },
      data: { leasedUntil: new Date(0) },
    });
    await expect.poll(() => bought.filter((id) => !requestIds(receiver).has(id)), { timeout: 90_000 }).toEqual([]);
    const count = new Map<string, number>();
    for (const { body } of receiver.received) {
      const id = JSON.parse(body).data.request_id as string;
      count.set(id, (count.get(id) ?? 0) + 1);
    }
    expect([...count].filter(([id, times]) => times > 1 && !underWay.has(id))).toEqual([]);
  });
});

test("two running servers deliver every event once", async ({ start, upstream, receiver, ownDatabase }) => {
  const { db, url } = ownDatabase;
  const world = await arrange(db);
  const one = await start({ upstream, databaseUrl: url });
  const two = await start({ upstream, databaseUrl: url });
  await subscribe(one, world.as.key, { url: `${receiver.url}/hook`, events: ["usage.completed"] });
  const text = marker();
  using _ = upstream.on(text, completion());
  const bought = (await Promise.all([buy(one, world.as, text, 100), buy(two, world.as, text, 100)])).flat();
  await expect.poll(() => receiver.received.length, { timeout: 40_000 }).toBe(200);
  expect(new Set(receiver.received.map(({ body }) => JSON.parse(body).data.request_id))).toEqual(new Set(bought));
  await expect.poll(() => db.prisma.webhookDelivery.count({ where: { status: "succeeded" } })).toBe(200);
  expect(receiver.received).toHaveLength(200);
});

test("the API reference has every event with its shape and a sample that fits", async ({ postgresServer: server }) => {
  const { webhooks } = (await call(server, "/v1/openapi.json")).json;
  expect(Object.keys(webhooks)).toEqual(ALL);
  for (const { post } of Object.values(webhooks) as {
    post: { requestBody: { content: Record<string, { schema: object; example: object }> } };
  }[]) {
    const { schema, example } = post.requestBody.content["application/json"] as {
      schema: { properties: { data: { required: string[] } } };
      example: { data: object };
    };
    expect(Object.keys(example.data)).toEqual(schema.properties.data.required);
  }
});
