import { gate, silence } from "../../src/testing/fake-upstream.ts";
import { freePort } from "../../src/testing/postgres.ts";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import { completion, completionChunks, event, events, json, refusal, sse } from "../../src/testing/upstream-answers.ts";
import { call, chat, eventsOf, marker } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange, settled } from "../world.ts";

const path = "/v1/chat/completions";

test.describe("an error of the provider", () => {
  for (const [name, answer, expected] of [
    [
      "400 is passed on with message, param and code",
      refusal(400, { message: "context is too long", param: "messages", code: "context_length_exceeded" }),
      { status: 400, code: "context_length_exceeded", message: "context is too long", param: "messages" },
    ],
    [
      "422 keeps its status",
      refusal(422, { message: "bad schema", param: "tools" }),
      { status: 422, code: "bad_request", message: "bad schema", param: "tools" },
    ],
    [
      "413 keeps its status",
      refusal(413, { message: "image too large" }),
      { status: 413, code: "bad_request", message: "image too large", param: null },
    ],
    [
      "400 in the flat envelope of some providers",
      json({ object: "error", message: "bad temperature", param: "temperature" }, { status: 400 }),
      { status: 400, code: "bad_request", message: "bad temperature", param: "temperature" },
    ],
    [
      "400 with HTML is 502",
      { status: 400, body: ["<html>secret backend 10.0.0.7</html>"] },
      { status: 502, code: "upstream_error", param: null },
    ],
    [
      "401 is about this server's account and never leaks",
      refusal(401, { message: "Incorrect API key provided: sk-secret-0000", code: "invalid_api_key" }),
      { status: 502, code: "upstream_error", param: null },
    ],
    [
      "403 never leaks",
      refusal(403, { message: "Project proj_secret has no access" }),
      { status: 502, code: "upstream_error", param: null },
    ],
    [
      "404 is not the app's 404",
      refusal(404, { message: "The model does not exist in org-secret" }),
      { status: 502, code: "upstream_error", param: null },
    ],
    [
      "402 of the provider is not the payer's 402",
      refusal(402, { message: "secret: top up your account" }),
      { status: 502, code: "upstream_error", param: null },
    ],
    [
      "429 is 429 with Retry-After",
      refusal(429, { message: "secret org limit" }, { "retry-after": "7" }),
      { status: 429, code: "rate_limit", param: null },
    ],
    ["500 is 502", refusal(500, { message: "secret trace" }), { status: 502, code: "upstream_error", param: null }],
    ["503 is 502", refusal(503, { message: "secret pool" }), { status: 502, code: "upstream_error", param: null }],
    [
      "a redirect is not followed",
      { status: 302, headers: { location: "http://127.0.0.1:1/secret" }, body: [""] },
      { status: 502, code: "upstream_error", param: null },
    ],
    ["200 with something that is not JSON", { body: ["<html>secret</html>"] }, { status: 502, code: "upstream_error", param: null }],
    ["200 with a JSON list", { body: ["[]"] }, { status: 502, code: "upstream_error", param: null }],
    ["200 with half an answer", { body: ['{"id":"x","choices":['] }, { status: 502, code: "upstream_error", param: null }],
    [
      "200 with an answer above the largest size",
      json({
        id: "x",
        choices: [{ index: 0, message: { role: "assistant", content: "secret".repeat(6_000_000) }, finish_reason: "stop" }],
      }),
      { status: 502, code: "upstream_error", param: null },
    ],
    [
      "an error page of ten megabytes",
      { status: 500, body: Array.from({ length: 160 }, () => "secret".repeat(11_000)) },
      { status: 502, code: "upstream_error", param: null },
    ],
  ] as const) {
    test(`${name}; nothing is billed`, async ({ postgresServer, upstream }) => {
      const { db } = postgresServer;
      for (const stream of [false, true]) {
        // Providers send errors before a stream; a broken 200 is only found in JSON.
        if (stream && (("status" in answer && answer.status === undefined) || !("status" in answer))) continue;
        const world = await arrange(db);
        const text = marker();
        using seen = upstream.on(text, answer);
        const told = await call(postgresServer, path, { ...world.as, body: chat(text, { stream }) });
        expect({ status: told.status, ...told.json.error }).toMatchObject(expected);
        if (expected.status >= 429) expect(told.text).not.toMatch(/secret/i);
        if (expected.status === 429) expect(told.headers.get("retry-after")).toBe("7");
        expect(seen.requests).toHaveLength(1);
        await settled(db, world);
        expect(await world.usage()).toMatchObject([{ outcome: "failed", base: 0n, markup: 0n }]);
        expect(await world.balance()).toBe(1_000_000n);
      }
    });
  }

  test("an answer that is JSON to a request for a stream is given as JSON and billed", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using _ = upstream.on(text, completion());
    const answer = await call(postgresServer, path, { ...world.as, body: chat(text, { stream: true }) });
    expect([answer.headers.get("content-type"), answer.json.quota.credits_used]).toEqual(["application/json; charset=utf-8", 5]);
  });

  test("a slow answer is passed on", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    const release = gate();
    using seen = upstream.on(text, async () => {
      await release.opened;
      return completion();
    });
    const answer = call(postgresServer, path, { ...world.as, body: chat(text) });
    await seen.next();
    const waiting = await call(postgresServer, "/v1/balance", world.as);
    expect(waiting.json.held).toBeGreaterThan(0);
    expect(waiting.json.balance).toBe(1_000_000);
    release.open();
    expect((await answer).status).toBe(200);
    expect((await call(postgresServer, "/v1/balance", world.as)).json).toMatchObject({ balance: 999_995, held: 0, available: 999_995 });
  });
});

test.describe("a provider that cannot be reached", () => {
  const user = (server: ServerProcess) => ({ key: server.demo.api_keys.developer, user: server.demo.user.external_user_id });
  const balance = async (server: ServerProcess) => (await call(server, "/v1/balance", user(server))).json;

  test("refuses the connection: 502, nothing billed", async ({ start }) => {
    const server = await start({ upstream: { url: `http://127.0.0.1:${await freePort()}/v1`, key: "sk-upstream-0000000000000000" } });
    for (const stream of [false, true]) {
      const answer = await call(server, path, { ...user(server), body: chat("hi", { stream }) });
      expect([answer.status, answer.json.error.code]).toEqual([502, "upstream_error"]);
      expect(answer.text).not.toMatch(/ECONNREFUSED|127\.0\.0\.1:/);
    }
    expect(await balance(server)).toMatchObject({ balance: 10_000_000, held: 0 });

    // A provider without a key on this server.
    const unavailable = await call(server, path, { ...user(server), body: chat("hi", { model: "mistral-small-2603" }) });
    if (unavailable.status !== 404) expect([unavailable.status, unavailable.json.error.code]).toEqual([503, "provider_unavailable"]);
  });

  test("is silent: 504, nothing billed, and the upstream request is aborted", async ({ start, upstream }) => {
    const server = await start({
      upstream,
      env: { QUOTA_UPSTREAM_HEADERS_TIMEOUT_MS: "300", QUOTA_UPSTREAM_IDLE_TIMEOUT_MS: "300", QUOTA_REQUEST_TIMEOUT_MS: "4000" },
    });
    await test.step("before its answer begins", async () => {
      for (const stream of [false, true]) {
        const text = marker();
        using seen = upstream.on(text, silence);
        const answer = await call(server, path, { ...user(server), body: chat(text, { stream }) });
        expect([answer.status, answer.json.error.code]).toEqual([504, "gateway_timeout"]);
        expect(await (await seen.next()).ended).toBe("aborted");
      }
    });
    await test.step("in the middle of a stream", async () => {
      const text = marker();
      using seen = upstream.on(
        text,
        events(
          (async function* () {
            yield event(completionChunks(["hi"])[0]);
            await new Promise(() => {});
          })(),
        ),
      );
      const answer = await call(server, path, { ...user(server), body: chat(text, { stream: true }) });
      expect(eventsOf(answer.text).at(-1).error.code).toBe("gateway_timeout");
      expect(await (await seen.next()).ended).toBe("aborted");
    });
    await test.step("in the middle of a JSON answer", async () => {
      const text = marker();
      using _ = upstream.on(text, {
        body: (async function* () {
          yield '{"id":';
          await new Promise(() => {});
        })(),
      });
      const answer = await call(server, path, { ...user(server), body: chat(text) });
      expect([answer.status, answer.json.error.code]).toEqual([504, "gateway_timeout"]);
    });
    await expect.poll(() => balance(server)).toMatchObject({ balance: 10_000_000, held: 0 });
    expect((await call(server, path, { ...user(server), body: chat("hi") })).status).toBe(200);
  });

  test("never ends: the stream is cut at the server's time limit, and the delivered text is billed", async ({ start, upstream }) => {
    const server = await start({ upstream, env: { QUOTA_REQUEST_TIMEOUT_MS: "1500" } });
    const text = marker();
    const [first, more] = completionChunks(["hi", " there"]).map(event);
    using seen = upstream.on(
      text,
      events(
        (async function* () {
          for (let piece = first ?? ""; ; piece = more ?? "") {
            yield piece;
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
        })(),
      ),
    );
    const answer = await call(server, path, { ...user(server), body: chat(text, { stream: true }) });
    expect(eventsOf(answer.text).at(-1).error.code).toBe("gateway_timeout");
    expect(answer.text).not.toContain("[DONE]");
    expect(await (await seen.next()).ended).toBe("aborted");
    await expect.poll(() => balance(server)).toMatchObject({ held: 0 });
    const [bought] = (await call(server, "/v1/usage", { key: user(server).key })).json.data;
    expect(bought).toMatchObject({ status: "interrupted", counted_by: "tokenizer" });
    expect(bought.completion_tokens).toBeGreaterThan(3);
    expect((await balance(server)).balance).toBe(10_000_000 - bought.credits_used);
  });

  test("has no key, and the simulator is off: 503, nothing held", async ({ start }) => {
    const server = await start({ env: { QUOTA_SIMULATOR: "off" } });
    const answer = await call(server, path, { ...user(server), body: chat("hi") });
    expect([answer.status, answer.json.error.code]).toEqual([503, "provider_unavailable"]);
    expect(await balance(server)).toMatchObject({ balance: 10_000_000, held: 0 });
    expect((await call(server, "/v1/models")).json.data).toEqual([]);
  });

  test("goes away between two requests on a kept connection: the next request works", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    for (let index = 0; index < 3; index++) {
      const text = marker();
      using _ = upstream.on(text, { ...completion(), headers: { connection: "close" } });
      expect((await call(postgresServer, path, { ...world.as, body: chat(text) })).status).toBe(200);
      expect((await call(postgresServer, path, { ...world.as, body: chat("x", { stream: true }) })).status).toBe(200);
    }
    expect(sse([])).toBeTruthy();
  });
});
