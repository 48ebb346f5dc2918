import { spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { validate } from "@scalar/openapi-parser";
import type { Door } from "../../src/server/http/endpoint.ts";
import { makeKey, makeToken } from "../../src/testing/makers.ts";
import { startReceiver } from "../../src/testing/receiver.ts";
import { completion, usage } from "../../src/testing/upstream-answers.ts";
import { type Call, call, chat, marker } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { openApiDocument, schemaOf } from "../openapi.ts";
import { arrange, type World } from "../world.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

// biome-ignore lint/suspicious/noExplicitAny: a document of many shapes, read by path
type Any = any;
type Request = Call & { path: string };

test("openapi.json is valid to Redocly and to Scalar, without warnings other than the listed ones", async ({ postgresServer }, info) => {
  const { text, json } = await call(postgresServer, "/v1/openapi.json");
  expect(json.openapi).toBe("3.1.0");

  const scalar = await validate(text);
  expect([scalar.valid, scalar.errors ?? []]).toEqual([true, []]);

  const file = info.outputPath("openapi.json");
  writeFileSync(file, text);
  // The models endpoint is public and has no errors; a server under test is on localhost.
  const skipped = ["operation-4xx-response", "no-server-example.com"].map((rule) => `--skip-rule=${rule}`);
  const redocly = spawnSync(
    process.execPath,
    [path.join(root, "node_modules/@redocly/cli/bin/cli.js"), "lint", file, "--format=json", "--extends=recommended", ...skipped],
    // Without telemetry and without looking for a newer version.
    { encoding: "utf8", env: { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" } },
  );
  const report = JSON.parse(redocly.stdout.slice(redocly.stdout.indexOf("{"), redocly.stdout.lastIndexOf("}") + 1));
  expect([redocly.status, report.totals.errors, report.problems]).toEqual([0, 0, []]);
});

test("every door of /v1 is documented, and every documented operation has a door", async () => {
  const { paths } = await openApiDocument();
  const written = Object.entries(paths as Record<string, object>).flatMap(([template, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${template}`),
  );
  expect((await doors()).sort()).toEqual(written.sort());
});

test("every documented operation answers as documented: each status, each field", async ({ start, ownDatabase, upstream, atTheEnd }) => {
  test.setTimeout(120_000);
  const { paths } = await openApiDocument();
  const receiver = await startReceiver();
  atTheEnd.push(() => receiver.close());
  const { url, db } = ownDatabase;
  const server = { ...(await start({ upstream, databaseUrl: url, env: { QUOTA_SANDBOX_CHECKOUT: "on" } })), db };
  const world = await arrange(server.db, { developerBalance: 10_000_000n, monthlyLimit: 1_000_000n });
  const scene = await prepare(server, world, receiver.url);
  const text = marker();
  using _answer = upstream.on(text, completion({ usage: usage(10, 5) }));

  const missing: string[] = [];
  for (const [template, methods] of Object.entries(paths as Record<string, Record<string, Any>>)) {
    for (const [method, operation] of Object.entries(methods)) {
      const name = `${method.toUpperCase()} ${template}`;
      const good = successes(scene, text)[name];
      if (good === undefined) {
        missing.push(`${name}: say in e2e/docs/openapi.spec.ts how to ask it so that it answers 200`);
        continue;
      }
      const seen = new Set<string>();
      const statuses = new Set<number>();
      // `call` checks each answer against openapi.json.
      for (const request of good) {
        const answer = await call(server, request.path, { method: method.toUpperCase(), ...request });
        expect(answer.status, `${name}: ${answer.text}`).toBe(200);
        statuses.add(200);
        see(schemaOf(operation, 200), answer.json, "", seen);
      }
      // Each documented field occurs at least once.
      const fields = fieldsOf(schemaOf(operation, 200), "");
      missing.push(...fields.filter((field) => !seen.has(field)).map((field) => `${name}: 200 never had ${field}`));

      for (const request of failures(name, operation, good[0] as Request, scene))
        statuses.add((await call(server, request.path, { method: method.toUpperCase(), ...request })).status);
      const never = Object.keys(operation.responses).filter((status) => !ELSEWHERE.has(status) && !statuses.has(Number(status)));
      missing.push(...never.map((status) => `${name}: never answered ${status}, which is documented`));
    }
  }
  expect(missing).toEqual([]);
});

test("429 of every operation is as documented", async ({ start }) => {
  const server = await start({ env: { QUOTA_RATE_LIMIT_PER_MINUTE: "1" } });
  const key = server.demo.api_keys.test;
  expect((await call(server, "/v1/me", { key })).status).toBe(200);
  const { paths } = await openApiDocument();
  for (const [template, methods] of Object.entries(paths as Record<string, Record<string, Any>>)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (operation.security.length === 0) continue;
      const body = operation.requestBody === undefined ? {} : { body: {} };
      const answer = await call(server, filled(template), { method: method.toUpperCase(), key, ...body });
      expect([operation.operationId, answer.status]).toEqual([operation.operationId, 429]);
      for (const header of Object.keys(operation.responses["429"].headers)) expect(answer.headers.get(header), header).not.toBeNull();
    }
  }
});

/** Statuses of failing providers or servers: upstream-errors, streams, crash and http test them; a test below has 429. */
const ELSEWHERE = new Set(["429", "500", "502", "503", "504", "4XX"]);

type Scene = {
  webhooks: { disabled: string; receiver: string; webhook: string; delivery: string; spare: string };
  world: World;
  token: string;
  scopeless: string;
  paused: string;
  poor: World;
  test: string;
};

async function prepare(server: Pick<PostgresServer, "url" | "db">, world: World, receiver: string): Promise<Scene> {
  const poor = await arrange(server.db, { balance: 0n });
  const away = await arrange(server.db);
  await server.db.prisma.linkedUser.update({ where: { id: away.link.id }, data: { pausedAt: new Date() } });
  const { token: paused } = await makeToken(server.db, away.link);
  const { token } = await makeToken(server.db, world.link, { scope: "credits.read credits.spend email" });
  const { token: scopeless } = await makeToken(server.db, world.link, { scope: "openid" });
  const testKey = await makeKey(server.db, world.app.id, "test");
  // An endpoint with an attempted delivery, and an endpoint to delete.
  const byKey = { key: world.key.secret };
  const subscription = { url: `${receiver}/hook`, events: ["user.connected"] };
  const [hook, spare, off] = await Promise.all([1, 2, 3].map(() => call(server, "/v1/webhooks", { ...byKey, body: subscription })));
  const webhook = `/v1/webhooks/${hook?.json.id}`;
  const sent = await call(server, `${webhook}/test`, { ...byKey, body: {} });
  const delivery = `${webhook}/deliveries/${sent.json.id}`;
  await expect.poll(async () => (await call(server, delivery, byKey)).json.log.length).toBeGreaterThan(0);
  const disabled = `/v1/webhooks/${off?.json.id}`;
  const late = await call(server, `${disabled}/test`, { ...byKey, body: {} });
  await call(server, disabled, { ...byKey, method: "PATCH", body: { enabled: false } });
  const webhooks = {
    disabled: `${disabled}/deliveries/${late.json.id}`,
    receiver,
    webhook,
    delivery,
    spare: `/v1/webhooks/${spare?.json.id}`,
  };
  return { webhooks, world, token, scopeless, paused, poor, test: testKey.secret };
}

/** For each operation, requests that succeed; together their answers have every documented field. */
function successes({ world, token, test: testKey, webhooks }: Scene, text: string): Record<string, Request[]> {
  const { as, key } = world;
  const byKey = { key: key.secret };
  const id = encodeURIComponent(as.user);
  const idempotent = () => ({ headers: { "idempotency-key": crypto.randomUUID() } });
  return {
    "POST /v1/chat/completions": [{ path: "/v1/chat/completions", ...as, body: chat(text) }],
    "POST /v1/messages": [
      {
        path: "/v1/messages",
        key: testKey,
        user: as.user,
        body: { model: "claude-haiku-4-5", max_tokens: 100, messages: [{ role: "user", content: "Hello!" }] },
      },
    ],
    "POST /v1/messages/count_tokens": [
      {
        path: "/v1/messages/count_tokens",
        key: testKey,
        user: as.user,
        body: { model: "claude-haiku-4-5", messages: [{ role: "user", content: "Hello!" }] },
      },
    ],
    "POST /v1/responses": [{ path: "/v1/responses", key: testKey, user: as.user, body: { model: "gpt-4o-mini", input: "Hello!" } }],
    "POST /v1/responses/input_tokens": [
      { path: "/v1/responses/input_tokens", key: testKey, user: as.user, body: { model: "gpt-4o-mini", input: "Hello!" } },
    ],
    "POST /v1/embeddings": [
      { path: "/v1/embeddings", key: testKey, user: as.user, body: { model: "text-embedding-3-small", input: "Hello!" } },
    ],
    "GET /v1/models": [{ path: "/v1/models" }],
    "GET /v1/models/{id}": [{ path: "/v1/models/gpt-4o-mini" }],
    "GET /v1/users": [{ path: "/v1/users", ...byKey }],
    "GET /v1/users/{external_user_id}": [{ path: `/v1/users/${id}`, ...byKey }],
    // In the sandbox, so that the link stays for the other requests.
    "DELETE /v1/users/{external_user_id}/link": [{ path: `/v1/users/${id}/link`, key: testKey }],
    "GET /v1/balance": [
      { path: "/v1/balance", ...as },
      { path: "/v1/balance", key: token },
    ],
    "GET /v1/me": [
      { path: "/v1/me", ...byKey },
      { path: "/v1/me", key: token },
    ],
    "GET /v1/usage": [
      { path: "/v1/usage", ...byKey },
      { path: "/v1/usage?group_by=day", ...byKey },
    ],
    "POST /v1/funding/credit": [
      { path: "/v1/funding/credit", ...byKey, ...idempotent(), body: { external_user_id: as.user, amount: 10, description: "A gift" } },
    ],
    "GET /v1/packages": [{ path: "/v1/packages" }],
    "POST /v1/checkout": [{ path: "/v1/checkout", ...as, body: { package_id: "usd_10" } }],
    "GET /v1/webhooks": [{ path: "/v1/webhooks", ...byKey }],
    "POST /v1/webhooks": [{ path: "/v1/webhooks", ...byKey, body: { url: `${webhooks.receiver}/more`, events: ["balance.low"] } }],
    "GET /v1/webhooks/{id}": [{ path: webhooks.webhook, ...byKey }],
    "PATCH /v1/webhooks/{id}": [{ path: webhooks.webhook, ...byKey, body: { rotate_secret: true } }],
    "DELETE /v1/webhooks/{id}": [{ path: webhooks.spare, ...byKey }],
    "POST /v1/webhooks/{id}/test": [{ path: `${webhooks.webhook}/test`, ...byKey, body: {} }],
    "GET /v1/webhooks/{id}/deliveries": [{ path: `${webhooks.webhook}/deliveries`, ...byKey }],
    "GET /v1/webhooks/{id}/deliveries/{delivery_id}": [{ path: webhooks.delivery, ...byKey }],
    "POST /v1/webhooks/{id}/deliveries/{delivery_id}/retry": [{ path: `${webhooks.delivery}/retry`, ...byKey }],
  };
}

/** Requests that get each documented error of an operation. */
function failures(name: string, operation: Any, good: Request, { webhooks, world, token, scopeless, paused, poor }: Scene): Request[] {
  if (operation.security.length === 0) return name.includes("{id}") ? [{ path: "/v1/models/no-such-model" }] : [];
  const { user: _user, ...withoutUser } = good;
  const known = Object.keys(operation.responses);
  const takesUser = operation.parameters.some((parameter: Any) => parameter.name === "X-Quota-User");
  const requests: Request[] = [];
  if (known.includes("401")) requests.push({ ...good, key: "sk-quota-wrong" });
  if (known.includes("403")) {
    // A token without the scope, or any token where only keys are accepted.
    requests.push({ ...withoutUser, key: operation.security.some((way: Any) => "accessToken" in way) ? scopeless : token });
  }
  if (known.includes("404")) {
    const gone = { path: filled(name.split(" ")[1] as string, "nobody-here"), headers: fresh(), body: named(good.body) };
    // A count has no payer, so the user is not looked up.
    if (name.endsWith("_tokens")) requests.push({ ...good, body: { ...(good.body as object), model: "none" } });
    else if (takesUser) requests.push({ ...good, key: world.key.secret, user: "nobody-here" });
    else if (name.includes("{") || good.body !== undefined) requests.push({ ...good, ...gone, key: world.key.secret });
    // Otherwise 403 is for a paused app.
    else requests.push({ ...withoutUser, key: paused });
  }
  if (known.includes("400")) {
    const separator = good.path.includes("?") ? "&" : "?";
    if (good.body !== undefined) requests.push({ ...good, body: "{" });
    else if (takesUser) requests.push({ ...good, user: "" });
    else if (name.endsWith("/retry")) requests.push({ ...good, path: `${webhooks.disabled}/retry` });
    else requests.push({ ...good, path: `${good.path}${separator}limit=0` });
  }
  if (known.includes("402")) {
    requests.push(
      takesUser
        ? { ...good, key: poor.key.secret, user: poor.link.externalUserId }
        : {
            ...good,
            key: poor.key.secret,
            headers: fresh(),
            body: { ...(good.body as object), external_user_id: poor.link.externalUserId },
          },
    );
  }
  if (known.includes("409")) {
    const headers = fresh();
    const other =
      good.body === undefined
        ? { path: `${webhooks.disabled}/retry` }
        : { body: { ...(good.body as object), ...another(good.body as object) } };
    requests.push({ ...good, headers }, { ...good, headers, ...other });
  }
  if (known.includes("413")) requests.push({ ...good, headers: fresh(), body: `"${"x".repeat(10 * 1024 * 1024)}"` });
  return requests;
}

function fresh(): Record<string, string> {
  return { "idempotency-key": crypto.randomUUID() };
}

/** The body with another value in one field. */
function another(body: object): object {
  if ("package_id" in body) return { package_id: "another" };
  if ("amount" in body) return { amount: 11 };
  if ("events" in body) return { description: "another" };
  return "model" in body ? { user: "another" } : { type: "balance.low" };
}

function named(body: unknown): unknown {
  return body === undefined ? undefined : { ...(body as object), external_user_id: "nobody-here" };
}

function filled(template: string, id = "gone"): string {
  return template.replaceAll(/\{\w+\}/g, id);
}

/** Records which documented fields a value has. */
function see(schema: Any, value: Any, at: string, seen: Set<string>): void {
  for (const form of schema?.anyOf ?? schema?.oneOf ?? [schema]) {
    if (Array.isArray(value)) for (const item of value) see(form?.items, item, `${at}[]`, seen);
    else if (value !== null && typeof value === "object") {
      for (const [name, inner] of Object.entries(form?.properties ?? {})) {
        if (!(name in value)) continue;
        seen.add(`${at}.${name}`);
        see(inner, value[name], `${at}.${name}`, seen);
      }
    }
  }
}

function fieldsOf(schema: Any, at: string): string[] {
  return (schema?.anyOf ?? schema?.oneOf ?? [schema]).flatMap((form: Any) => [
    ...(form?.items === undefined ? [] : fieldsOf(form.items, `${at}[]`)),
    ...Object.entries(form?.properties ?? {}).flatMap(([name, inner]) => [`${at}.${name}`, ...fieldsOf(inner, `${at}.${name}`)]),
  ]);
}

/** The handlers that src/app/v1 exports, as `METHOD /v1/template`; openapi.json itself is no operation. */
async function doors(): Promise<string[]> {
  const folder = path.join(root, "src/app/v1");
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => path.basename(file) === "route.ts");
  const found = await Promise.all(
    files.map(async (file) => {
      const exported = (await import(path.join(folder, file))) as Record<string, Door>;
      const template = path
        .dirname(file)
        .split(path.sep)
        .map((part) => part.replace(/^\[(?:\.\.\.)?(\w+)\]$/, "{$1}"));
      const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"].filter((method) => typeof exported[method] === "function");
      return methods.map((method) => `${method} /v1/${template.join("/")}`);
    }),
  );
  return found.flat().filter((name) => name !== "GET /v1/openapi.json");
}
