import { glob } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { loadRoutes } from "../../src/server/start/routes.ts";
import { call, callRaw, chat, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

const path = "/v1/chat/completions";

test.describe("rate limits", () => {
  test("are in headers, and 429 has Retry-After", async ({ start, upstream }) => {
    const server = await start({ upstream, env: { QUOTA_RATE_LIMIT_PER_MINUTE: "3" } });
    const { developer, user } = server.demo.api_keys;
    const as = { key: developer, user: server.demo.user.external_user_id };
    for (const remaining of ["2", "1", "0"]) {
      const answer = await call(server, remaining === "1" ? path : "/v1/balance", {
        ...as,
        ...(remaining === "1" ? { body: chat("hi") } : {}),
      });
      expect([answer.status, answer.headers.get("x-ratelimit-limit"), answer.headers.get("x-ratelimit-remaining")]).toEqual([
        200,
        "3",
        remaining,
      ]);
      const reset = Number(answer.headers.get("x-ratelimit-reset")) - Date.now() / 1000;
      expect(reset).toBeGreaterThan(0);
      expect(reset).toBeLessThan(62);
    }
    for (const [target, body] of [
      [path, chat("hi")],
      ["/v1/me", undefined],
    ] as const) {
      const refused = await call(server, target, { ...as, body });
      expect([refused.status, refused.json.error.code, refused.json.error.type]).toEqual([429, "rate_limit_exceeded", "rate_limit_error"]);
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(Number(refused.headers.get("retry-after"))).toBeLessThanOrEqual(60);
    }
    // Each key has a limit of its own.
    expect((await call(server, "/v1/balance", { ...as, key: user })).status).toBe(200);
    expect((await call(server, "/v1/usage", { key: user })).json.data).toHaveLength(1);
    // Requests that need no key are not counted.
    for (let repeat = 0; repeat < 5; repeat++) expect((await call(server, "/v1/models")).status).toBe(200);
  });

  test("one user of an app, linked or not, cannot use up the key's limit for the other users", async ({ start, upstream }) => {
    const env = { QUOTA_RATE_LIMIT_PER_MINUTE: "12", QUOTA_RATE_LIMIT_PER_USER_PER_MINUTE: "4" };
    const server = await start({ upstream, env });
    const key = server.demo.api_keys.developer;
    const linked = server.demo.user.external_user_id;
    const ask = (user: string | undefined) => call(server, path, { key, ...(user === undefined ? {} : { user }), body: chat("hi") });
    const told = (answer: Awaited<ReturnType<typeof ask>>) => [
      answer.status,
      answer.headers.get("x-ratelimit-limit"),
      answer.headers.get("x-ratelimit-remaining"),
    ];
    for (const left of ["3", "2", "1", "0"]) expect(told(await ask("nobody"))).toEqual([404, "4", left]);
    for (let repeat = 0; repeat < 20; repeat++) {
      const refused = await ask("nobody");
      expect(told(refused)).toEqual([429, "4", "0"]);
      expect(refused.json.error).toMatchObject({ code: "rate_limit_exceeded", message: "Too many requests for this user." });
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    }
    // Other users get the rest of the key's limit, which is below their own.
    for (const left of ["3", "2", "1", "0"]) expect(told(await ask(linked))).toEqual([200, "4", left]);
    expect((await call(server, "/v1/balance", { key, user: linked })).status).toBe(429);
    for (const left of ["3", "2", "1", "0"]) expect(told(await ask(undefined))).toEqual([200, "12", left]);
    expect(told(await ask(undefined))).toEqual([429, "12", "0"]);
    expect(told(await ask("somebody else"))).toEqual([429, "12", "0"]);
  });
});

test.describe("CORS", () => {
  const paths = [
    path,
    "/v1/embeddings",
    "/v1/models",
    "/v1/models/gpt-4o-mini",
    "/v1/users",
    "/v1/users/user_123",
    "/v1/users/user_123/link",
    "/v1/balance",
    "/v1/me",
    "/v1/usage",
    "/v1/funding/credit",
    "/v1/openapi.json",
  ];
  for (const target of paths) {
    test(`a browser may request ${target}`, async ({ postgresServer }) => {
      const answer = await call(postgresServer, target, {
        method: "OPTIONS",
        headers: {
          origin: "https://app.example",
          "access-control-request-method": "POST",
          "access-control-request-headers": "anthropic-version,authorization,content-type,x-quota-user,x-stainless-lang",
        },
      });
      expect([answer.status, answer.text]).toEqual([204, ""]);
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      expect(answer.headers.get("access-control-allow-headers")).toBe(
        "anthropic-version,authorization,content-type,x-quota-user,x-stainless-lang",
      );
      expect(answer.headers.get("vary")).toBe("Access-Control-Request-Headers");
      expect(answer.headers.get("access-control-allow-methods")).toMatch(/GET.*POST.*DELETE/);
      expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
    });
  }

  test("a browser may read our headers, on success and on errors", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    for (const answer of [
      await call(postgresServer, path, { ...world.as, body: chat("hi") }),
      await call(postgresServer, path, { ...world.as, body: chat("hi", { stream: true }) }),
      await call(postgresServer, path, { body: chat("hi") }),
      await call(postgresServer, "/v1/models"),
      await call(postgresServer, "/v1/nothing"),
    ]) {
      const exposed = answer.headers.get("access-control-expose-headers")?.toLowerCase().split(/, */) ?? [];
      expect(exposed).toEqual(
        expect.arrayContaining([
          "x-request-id",
          "x-quota-max-tokens",
          "x-quota-simulated",
          "x-ratelimit-limit",
          "x-ratelimit-remaining",
          "x-ratelimit-reset",
          "retry-after",
          "idempotency-replayed",
        ]),
      );
    }
  });
});

test.describe("paths and methods", () => {
  for (const unknown of [
    "/v1/nothing",
    "/v1/",
    "/v1/chat",
    "/v1/chat/completions/",
    "/v1/chat/completions/x",
    "/v1/users/a/b",
    "/v1//users",
    "/v1/users/",
    "/v1/models/",
    "/v1/%2e%2e/dashboard",
    "/v1/constructor",
  ]) {
    test(`${unknown} is 404 in the envelope, for any method`, async ({ postgresServer }) => {
      for (const method of ["GET", "POST", "DELETE"]) {
        const answer = await callRaw(postgresServer, unknown, { method });
        expect([answer.status, answer.json.error.type]).toEqual([404, "invalid_request_error"]);
        expect(["not_found", "model_not_found"]).toContain(answer.json.error.code);
      }
    });
  }

  for (const [method, target, allow] of [
    ["GET", path, ["POST"]],
    ["DELETE", path, ["POST"]],
    ["PUT", "/v1/users/user_123", ["GET"]],
    ["GET", "/v1/users/user_123/link", ["DELETE"]],
    ["POST", "/v1/models", ["GET"]],
    ["PATCH", "/v1/balance", ["GET"]],
    ["GET", "/v1/funding/credit", ["POST"]],
  ] as const) {
    test(`${method} ${target} is 405 and lists the allowed methods`, async ({ postgresServer }) => {
      const answer = await callRaw(postgresServer, target, { method });
      expect([answer.status, answer.json.error.code]).toEqual([405, "method_not_allowed"]);
      expect(answer.headers.get("allow")?.split(", ")).toEqual(expect.arrayContaining([...allow, "OPTIONS"]));
    });
  }

  test("HEAD has the headers of GET and no body", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const get = await callRaw(postgresServer, "/v1/balance", world.as);
    const head = await callRaw(postgresServer, "/v1/balance", { ...world.as, method: "HEAD" });
    expect([head.status, head.text, head.headers.get("content-length"), head.headers.get("content-type")]).toEqual([
      200,
      "",
      get.headers.get("content-length"),
      get.headers.get("content-type"),
    ]);
    expect((await callRaw(postgresServer, "/v1/users/nobody", { key: world.as.key, method: "HEAD" })).status).toBe(404);
    expect((await callRaw(postgresServer, path, { ...world.as, method: "HEAD" })).status).toBe(405);
  });

  test("a query beside the path does not hide it, and repeated parameters are not an error", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    expect((await call(postgresServer, "/v1/balance?x=1&x=2", world.as)).status).toBe(200);
    expect((await call(postgresServer, `${path}?api-version=1`, { ...world.as, body: chat("hi") })).status).toBe(200);
  });

  test("wrong query parameters are 400 and named", async ({ postgresServer }) => {
    const { key } = (await arrange(postgresServer.db)).as;
    for (const [target, param] of [
      ["/v1/users?limit=0", "limit"],
      ["/v1/users?limit=101", "limit"],
      ["/v1/users?limit=ten", "limit"],
      ["/v1/users?limit=1.5", "limit"],
      ["/v1/users?starting_after=nobody", "starting_after"],
      ["/v1/usage?limit=-1", "limit"],
      ["/v1/usage?start=never", "start"],
      ["/v1/usage?group_by=hour", "group_by"],
      ["/v1/usage?starting_after=req_1", "starting_after"],
      [`/v1/usage?external_user_id=${"x".repeat(256)}`, "external_user_id"],
      ["/v1/usage?external_user_id=%00", "external_user_id"],
    ]) {
      const answer = await call(postgresServer, target as string, { key });
      expect([target, answer.status, answer.json.error.param]).toEqual([target, 400, param]);
    }
  });

  test("a NUL in a filter is 400 and not 500", async ({ postgresServer }) => {
    const { key } = (await arrange(postgresServer.db)).as;
    for (const target of ["/v1/usage?model=%00", "/v1/users?starting_after=%00"]) {
      expect((await call(postgresServer, target, { key })).status).toBeLessThan(500);
    }
  });

  test("a date beyond the database's years is not a 500", async ({ postgresServer }) => {
    const { key } = (await arrange(postgresServer.db)).as;
    for (const target of ["/v1/usage?start=%2B275760-09-12", "/v1/usage?end=-271821-04-20", "/v1/usage?group_by=day&start=-271821-04-21"]) {
      expect((await call(postgresServer, target, { key })).status).toBeLessThan(500);
    }
  });

  test("requests one after the other on one connection keep their order and their answers", async ({ postgresServer }) => {
    const { port } = new URL(postgresServer.url);
    const socket = connect(Number(port), "127.0.0.1");
    let text = "";
    socket.on("data", (part) => {
      text += part.toString("latin1");
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(
      ["/v1/models/gpt-4o-mini", "/v1/nothing", "/v1/balance"]
        .map((target, index) => `GET ${target} HTTP/1.1\r\nhost: x\r\n${index === 2 ? "connection: close\r\n" : ""}\r\n`)
        .join(""),
    );
    await closed;
    expect(text.match(/HTTP\/1\.1 \d\d\d/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 404", "HTTP/1.1 401"]);
  });

  test("/healthz is 200 while the database answers", async ({ postgresServer }) => {
    const response = await send(postgresServer, "/healthz");
    expect([response.status, await response.json()]).toEqual([200, { status: "ok" }]);
  });
});

test.describe("with the pages behind the same port", () => {
  test("a request that asks for an upgrade is answered as without that header", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    // Next adds a listener for upgrades when it serves the first page.
    expect((await send(postgresServer, "/sign-in")).status).toBe(200);
    for (const upgrade of ["h2c", "websocket"]) {
      const headers = { connection: "Upgrade", upgrade };
      expect((await callRaw(postgresServer, "/v1/models", { headers })).status).toBe(200);
      expect((await callRaw(postgresServer, path, { ...world.as, headers, body: chat("hi") })).status).toBe(200);
      for (const [page, status] of [
        ["/sign-in", 200],
        ["/healthz", 200],
        ["/no-such-page", 404],
        ["/_next/hmr", 404],
      ] as const) {
        const { hostname, port } = new URL(postgresServer.url);
        const answered = new Promise<number | undefined>((resolve, reject) => {
          const asked = request({ hostname, port, path: page, headers, agent: false }, (answer) => {
            answer.resume().once("end", () => resolve(answer.statusCode));
          });
          asked.once("error", reject).end();
        });
        expect([page, await answered]).toEqual([page, status]);
      }
    }
  });

  test("a procedure accepts a chunked body, and answers 413 to more than a megabyte", async ({ postgresServer }) => {
    const ask = (text: string) =>
      fetch(`${postgresServer.url}/api/trpc/account.resetPassword`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: new Blob([text]).stream(),
        duplex: "half",
      } as RequestInit);
    const input = { json: { token: "no-such-token", password: "correct horse battery" } };
    const answer = await ask(JSON.stringify(input));
    expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining("This link was used already")]);
    const refused = await ask(JSON.stringify({ ...input, more: "x".repeat(1024 * 1024) }));
    expect([refused.status, await refused.text()]).toEqual([413, "The request body is larger than 1048576 bytes.\n"]);
  });

  test("one request calls twenty procedures and no more", async ({ postgresServer }) => {
    for (const [count, status] of [
      [20, 401],
      [21, 400],
    ] as const) {
      const batch = Array.from({ length: count }, () => "account.overview").join(",");
      expect((await send(postgresServer, `/api/trpc/${batch}?batch=1&input=%7B%7D`)).status).toBe(status);
    }
  });
});

test.describe("/v1/models", () => {
  test("lists models with prices as decimal dollars, and each can be retrieved", async ({ postgresServer }) => {
    const list = await call(postgresServer, "/v1/models");
    const mini = list.json.data.find((each: { id: string }) => each.id === "gpt-4o-mini");
    expect(mini).toMatchObject({
      object: "model",
      owned_by: "openai",
      pricing: { prompt_per_1k_tokens: "0.00015", completion_per_1k_tokens: "0.0006" },
      context_length: 128_000,
      max_output_tokens: 16_384,
    });
    expect((await call(postgresServer, "/v1/models/gpt-4o-mini")).json).toEqual(mini);
    // Two providers are configured on this server.
    expect(new Set(list.json.data.map((each: { owned_by: string }) => each.owned_by))).toEqual(new Set(["openai", "anthropic"]));
    const unknown = await call(postgresServer, "/v1/models/gpt-99");
    expect([unknown.status, unknown.json.error.code]).toEqual([404, "model_not_found"]);
  });

  test("an id with slashes works, encoded or not", async ({ start }) => {
    const server = await start();
    const list = await call(server, "/v1/models");
    const id = list.json.data.map((each: { id: string }) => each.id).find((each: string) => each.includes("/")) as string;
    expect(id).toBeTruthy();
    expect((await call(server, `/v1/models/${id}`)).json.id).toBe(id);
    expect((await call(server, `/v1/models/${encodeURIComponent(id)}`)).json.id).toBe(id);
  });
});

test.describe("/v1/openapi.json", () => {
  test("lists exactly the doors, and each of its operations answers", async ({ postgresServer }) => {
    const document = (await call(postgresServer, "/v1/openapi.json")).json;
    expect(document.openapi).toBe("3.1.0");
    const routes = await loadRoutes();
    const ids = new Set<string>();
    for (const [template, operations] of Object.entries<Record<string, { operationId: string; responses: object; security: object[] }>>(
      document.paths,
    )) {
      const target = template.replace("{external_user_id}", "nobody").replace("{id}", "gpt-4o-mini");
      for (const [method, operation] of Object.entries(operations)) {
        ids.add(operation.operationId);
        expect(routes.find(target)?.has(method.toUpperCase()), `${method} ${template}`).toBe(true);
        const answer = await call(postgresServer, target, { method: method.toUpperCase() });
        expect(Object.keys(operation.responses)).toContain(String(answer.status));
        expect(answer.status).toBe(operation.security.length === 0 ? 200 : 401);
      }
    }
    expect(ids.size).toBe(Object.values<object>(document.paths).flatMap((each) => Object.keys(each)).length);
    // Every route file except the document's own, with OpenAPI's notation of parameters.
    const files: string[] = [];
    for await (const file of glob("src/app/v1/**/route.ts")) files.push(file);
    const paths = files
      .map((file) => file.replace(/^src\/app(.*)\/route\.ts$/, "$1").replaceAll(/\[(?:\.{3})?(\w+)\]/g, "{$1}"))
      .filter((path) => path !== "/v1/openapi.json");
    expect(Object.keys(document.paths).sort()).toEqual(paths.sort());
    expect(JSON.stringify(document)).not.toContain("$schema");
  });
});
