import type { AddressInfo } from "node:net";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import pg from "pg";
import Stripe from "stripe";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { env, publicUrl } from "#env";
import { migrate } from "../../../prisma/migrate.ts";
import { makeApp, makeKey, makeLink, makeToken, makeUser } from "../../testing/makers.ts";
import { freshDatabase } from "../../testing/postgres.ts";
import { type Away, type PostgresGate, startPostgresGate } from "../../testing/postgres-gate.ts";
import { authorizationServer } from "../connect/provider.ts";
import type { Door } from "../http/endpoint.ts";
import { theLedger } from "../ledger/ledger.ts";
import { isDatabaseAway } from "../platform/away.ts";
import { type Database, openDatabase, theDatabase, transaction } from "../platform/db.ts";
import { errorTable } from "../platform/errors.ts";
import { appRouter } from "../trpc/root.ts";
import { metaOf } from "../trpc/trpc.ts";
import { createQuotaServer } from "./listen.ts";
import { loadRoutes } from "./routes.ts";

let gate: PostgresGate;
let db: Database;
let drop: () => Promise<void>;
let key: string;
let token: string;
let client: { id: string; basic: string };
let user: string;

beforeAll(async () => {
  const fresh = await freshDatabase(inject("postgresUrl"));
  drop = fresh.drop;
  gate = await startPostgresGate(fresh.url);
  db = await openDatabase({ url: gate.url });
  theDatabase.opened = Promise.resolve(db);
  await migrate(db);
  const app = await makeApp(db);
  key = (await makeKey(db, app.id)).secret;
  const link = await makeLink(db, app.id, await makeUser(db, { credits: 1_000_000n }));
  user = link.externalUserId;
  token = (await makeToken(db, link)).token;
  client = { id: app.clientId, basic: `Basic ${btoa(`${app.clientId}:quota_secret_x`)}` };
  await authorizationServer();
  await new Promise<void>((resolve) => void oauth.listen(0, "127.0.0.1", resolve));
});

const oauth = createQuotaServer({ find: () => null }, { handle: async (_incoming, outgoing) => void outgoing.end() });
const fetchOAuth = (path: string, init: RequestInit) => fetch(`http://127.0.0.1:${(oauth.address() as AddressInfo).port}${path}`, init);

afterAll(async () => {
  oauth.closeAllConnections();
  await new Promise((resolve) => oauth.close(resolve));
  await gate.open();
  await db.close();
  theDatabase.opened = undefined;
  theLedger.opened = undefined;
  await gate.end();
  await drop();
});

/** Ways in which a database can be unreachable. Each lasts until `gate.open`. */
const ways: [name: string, begin: () => Promise<void>][] = [
  ["no process listens on its port", () => gate.close("refused")],
  ...(["57P03", "57P01", "53300", "08006"] as const).map((sqlState): [string, () => Promise<void>] => [
    `it refuses connections with ${sqlState}`,
    () => gate.close({ sqlState } satisfies Away),
  ]),
  [
    "the connection is lost in the middle of a statement",
    async () => {
      await gate.open();
      await db.sql.query({ name: "there", text: "SELECT 1" }, []);
      gate.cutAtNextStatement();
    },
  ],
];

const asks: [name: string, path: string, init?: RequestInit][] = [
  ["balance", "/v1/balance"],
  ["me", "/v1/me"],
  ["users", "/v1/users"],
  ["one user", "/v1/users/somebody"],
  ["unlinking", "/v1/users/somebody/link", { method: "DELETE" }],
  ["usage", "/v1/usage"],
  ["webhooks", "/v1/webhooks"],
  ["a gift", "/v1/funding/credit", { method: "POST", body: '{"external_user_id":"somebody","amount":1}' }],
  ["a completion", "/v1/chat/completions", { method: "POST", body: '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}]}' }],
  [
    "a stream",
    "/v1/chat/completions",
    { method: "POST", body: '{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"x"}]}' },
  ],
  [
    "a message",
    "/v1/messages",
    { method: "POST", body: '{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"x"}]}' },
  ],
];

async function ask(path: string, init: RequestInit = {}, credential: Record<string, string> = { authorization: `Bearer ${key}` }) {
  const routes = await loadRoutes();
  const door = routes.find(path)?.get(init.method ?? "GET") as Door;
  return door(
    new Request(publicUrl() + path, {
      ...init,
      headers: { ...credential, "content-type": "application/json", "idempotency-key": crypto.randomUUID(), "x-quota-user": user },
    }),
  );
}

describe.each(ways)("while %s", (_name, begin) => {
  beforeAll(() => begin());
  afterAll(() => gate.open());

  test.each(asks)("/v1 answers 503 unavailable with Retry-After: %s", async (_what, path, init) => {
    const answer = await ask(path, init);
    expect([answer.status, (await answer.json()).error.code]).toEqual([503, "unavailable"]);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(answer.headers.get("x-request-id")).toMatch(/^req_/);
  });

  test("/v1 answers a request with an access token in the same way", async () => {
    const answer = await (await loadRoutes()).find("/v1/balance")?.get("GET")?.(
      new Request(`${publicUrl()}/v1/balance`, { headers: { authorization: `Bearer ${token}` } }),
    );
    expect([answer?.status, answer?.headers.has("retry-after")]).toEqual([503, true]);
  });

  test.each([
    ["/oauth/token", { grant_type: "refresh_token", refresh_token: "x".repeat(43) }],
    ["/oauth/revoke", { token: "x".repeat(43) }],
    ["/oauth/introspect", { token: "x".repeat(43) }],
  ])("%s answers 503 temporarily_unavailable", async (path, form) => {
    const answer = await fetchOAuth(path, { method: "POST", body: new URLSearchParams(form), headers: { authorization: client.basic } });
    expect([answer.status, (await answer.json()).error, answer.headers.get("cache-control")]).toEqual([
      503,
      "temporarily_unavailable",
      "no-store",
    ]);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  test("/oauth/userinfo answers 503, and /oauth/authorize a 503 page without a redirect", async () => {
    const told = await fetchOAuth("/oauth/userinfo", { headers: { authorization: `Bearer ${token}` } });
    expect([told.status, told.headers.has("retry-after")]).toEqual([503, true]);
    const query = new URLSearchParams({ client_id: client.id, redirect_uri: "http://localhost:4000/callback", response_type: "code" });
    const page = await fetchOAuth(`/oauth/authorize?${query}`, { redirect: "manual" });
    expect([page.status, page.headers.get("location"), page.headers.has("retry-after")]).toEqual([503, null, true]);
    expect(await page.text()).toContain("Quota is not available right now");
  });

  test("an event of Stripe is answered 503, so that Stripe repeats it", async () => {
    const { STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET } = env;
    Object.assign(env, { STRIPE_SECRET_KEY: "sk_test_x", STRIPE_WEBHOOK_SECRET: "whsec_x" });
    try {
      const { POST } = await import("../../app/api/stripe/webhook/route.ts");
      const payload = JSON.stringify({
        id: "evt_1",
        object: "event",
        type: "checkout.session.completed",
        data: { object: { id: "cs_1", object: "checkout.session", payment_status: "paid", client_reference_id: crypto.randomUUID() } },
      });
      const signature = new Stripe("sk_test_x").webhooks.generateTestHeaderString({ payload, secret: "whsec_x" });
      const answer = await POST(
        new Request(`${publicUrl()}/api/stripe/webhook`, { method: "POST", body: payload, headers: { "stripe-signature": signature } }),
      );
      expect([answer.status, answer.headers.has("retry-after")]).toEqual([503, true]);
    } finally {
      Object.assign(env, { STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET });
    }
  });

  test("the dashboard's API answers 503, whether a procedure or reading the session fails", async () => {
    for (const createContext of [
      () => ({ user: { id: crypto.randomUUID(), email: "a@example.com", walletId: crypto.randomUUID() } }),
      () => db.prisma.setting.findMany().then(() => ({ user: null })),
    ]) {
      const answer = await fetchRequestHandler({
        endpoint: "/api/trpc",
        req: new Request(`${publicUrl()}/api/trpc/wallet.connectedApps`),
        router: appRouter,
        createContext,
        responseMeta: metaOf,
      });
      const { error } = (await answer.json()) as { error: { json: { message: string; data: Record<string, unknown> } } };
      expect([answer.status, answer.headers.has("retry-after"), error.json.data.httpStatus, error.json.data.stack]).toEqual([
        503,
        true,
        503,
        null,
      ]);
      expect(error.json.message).toBe(errorTable.unavailable.message);
    }
  });

  test("isDatabaseAway recognizes the error, in and outside of a transaction, and on a lane", async () => {
    const lane = db.lane();
    for (const work of [
      () => db.prisma.setting.findMany(),
      () => db.prisma.$queryRaw`SELECT 1`,
      () => transaction((tx) => tx.prisma.setting.findMany(), db),
      () => transaction((tx) => tx.query({ name: "one", text: "SELECT 1" }, []), db),
      () => db.sql.query({ name: "one", text: "SELECT 1" }, []),
      () => lane.query({ name: "one", text: "SELECT 1" }, []),
    ]) {
      const error = await work().then(
        () => null,
        (failure: unknown) => failure,
      );
      expect(isDatabaseAway(error), String(error)).toBe(true);
    }
  });
});

test("the first request after the database is back is answered", async () => {
  await gate.close("refused");
  expect((await ask("/v1/balance")).status).toBe(503);
  await gate.open();
  expect((await ask("/v1/balance")).status).toBe(200);
});

test("a terminated session and a statement that times out count as a database that can't be reached", async () => {
  for (const text of [
    "SELECT pg_terminate_backend(pg_backend_pid())",
    "WITH x AS (SELECT set_config('statement_timeout', '1ms', true)) SELECT pg_sleep(10) FROM x",
  ]) {
    const failed = await transaction(async (tx) => {
      if (text.includes("statement_timeout")) await tx.prisma.$executeRawUnsafe("SET LOCAL statement_timeout = 1");
      await tx.prisma.$queryRawUnsafe(text.includes("statement_timeout") ? "SELECT pg_sleep(10)::text" : text);
    }, db).then(
      () => null,
      (error: unknown) => error,
    );
    expect(isDatabaseAway(failed), String(failed)).toBe(true);
  }
});

test("errors of statements and values, and of other connections, do not", async () => {
  const wrong = [
    () => db.prisma.$queryRawUnsafe("SELECT nothing FROM nowhere"),
    () => db.sql.query({ name: "div", text: "SELECT 1 / 0" }, []),
    () => db.prisma.setting.findUniqueOrThrow({ where: { key: "none" } }),
    () =>
      db.prisma.setting.createMany({
        data: [
          { key: "twice", value: 1 },
          { key: "twice", value: 1 },
        ],
      }),
    () => fetch("http://127.0.0.1:1/"),
    () => Promise.reject(Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED", syscall: "connect" })),
  ];
  for (const work of wrong) {
    const error = await work().then(
      () => null,
      (failure: unknown) => failure,
    );
    expect([error === null, isDatabaseAway(error)], String(error)).toEqual([false, false]);
  }
});

test("a database without a free connection can't be reached until one is free", async () => {
  const role = `few_${process.pid}_${Math.random().toString(36).slice(2, 8)}`;
  await db.prisma.$executeRawUnsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'few' CONNECTION LIMIT 1`);
  const url = new URL(gate.url);
  url.username = role;
  url.password = "few";
  const only = new pg.Client({ connectionString: url.href });
  await only.connect();
  const other = await openDatabase({ url: url.href });
  try {
    const query = () => other.sql.query({ name: "one", text: "SELECT 1" }, []);
    expect(isDatabaseAway(await query().catch((error: unknown) => error))).toBe(true);
    await only.end();
    await expect
      .poll(() =>
        query().then(
          (rows) => rows.length,
          () => 0,
        ),
      )
      .toBe(1);
  } finally {
    await other.close();
    await db.prisma.$executeRawUnsafe(`DROP ROLE ${role}`);
  }
});

describe("pages of Quota's server", () => {
  /** Answers errors like Next does. */
  const server = createQuotaServer(
    { find: () => null },
    {
      async handle(incoming, outgoing) {
        try {
          if (incoming.url !== "/broken") await db.prisma.setting.findMany();
          else throw new Error("a fault of ours");
          outgoing.setHeader("content-type", "text/html");
          outgoing.end("<p>the page</p>");
        } catch {
          outgoing.statusCode = 500;
          outgoing.setHeader("content-type", "text/html");
          if (incoming.url === "/explicit") outgoing.writeHead(500, { "x-powered-by": "x" });
          outgoing.write("<p>scripts that");
          outgoing.end(" make it again</p>");
        }
      },
    },
  );
  beforeAll(() => new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve)));
  afterAll(async () => {
    await gate.open();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const get = (path: string, accept = "text/html") =>
    fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, { headers: { accept } });

  test("are 503 with Retry-After and a page without scripts while the database can't be reached", async () => {
    await gate.close("refused");
    for (const path of ["/wallet", "/explicit"]) {
      const answer = await get(path);
      expect([answer.status, answer.headers.has("retry-after"), answer.headers.get("cache-control")]).toEqual([503, true, "no-store"]);
      const page = await answer.text();
      expect(page).toContain("Quota is not available right now");
      expect(page).not.toContain("scripts that");
    }
    const program = await get("/api/auth/session", "application/json");
    expect([program.status, await program.json()]).toEqual([503, { message: "The server's database cannot be reached." }]);
    const health = await get("/healthz");
    expect([health.status, health.headers.has("retry-after")]).toEqual([503, true]);
  });

  test("are unchanged when the database can be reached, also when they are errors", async () => {
    await gate.open();
    expect(await (await get("/wallet")).text()).toBe("<p>the page</p>");
    const broken = await get("/broken");
    expect([broken.status, await broken.text()]).toEqual([500, "<p>scripts that make it again</p>"]);
  });
});
