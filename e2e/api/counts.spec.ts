import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { countTextTokens } from "../../src/server/pricing/tokens.ts";
import { makeToken } from "../../src/testing/makers.ts";
import { json, refusal } from "../../src/testing/upstream-answers.ts";
import { call, marker } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { arrange, type World } from "../world.ts";

function clients(server: Pick<PostgresServer, "url">, { as }: Pick<World, "as">) {
  const headers = { apiKey: as.key, defaultHeaders: { "X-Quota-User": as.user }, maxRetries: 0 };
  return { openai: new OpenAI({ ...headers, baseURL: `${server.url}/v1` }), anthropic: new Anthropic({ ...headers, baseURL: server.url }) };
}

test.describe("counting a prompt", () => {
  test("hands on the provider's count, holds nothing and bills nothing", async ({ postgresServer: server, upstream }) => {
    // No wallet could pay for an answer.
    const world = await arrange(server.db, { balance: 0n });
    const { openai, anthropic } = clients(server, world);
    const text = marker();
    using seen = upstream.on(text, [json({ input_tokens: 14 }), json({ object: "response.input_tokens", input_tokens: 11 })]);
    const messages = [{ role: "user" as const, content: text }];
    expect(await anthropic.messages.countTokens({ model: "claude-haiku-4-5", messages })).toMatchObject({ input_tokens: 14 });
    expect(await openai.responses.inputTokens.count({ model: "gpt-4o-mini", input: text })).toMatchObject({
      object: "response.input_tokens",
      input_tokens: 11,
    });
    expect(seen.requests.map(({ path, body }) => [path, body])).toEqual([
      ["/v1/messages/count_tokens", { model: "claude-haiku-4-5", messages }],
      ["/v1/responses/input_tokens", { model: "gpt-4o-mini", input: text }],
    ]);
    expect(await world.usage()).toEqual([]);
  });

  test("counts by tokenizer where the provider does not answer, and in the sandbox", async ({ postgresServer: server, upstream }) => {
    const world = await arrange(server.db);
    const { openai, anthropic } = clients(server, world);
    const text = marker();
    using seen = upstream.on(text, [refusal(529, { message: "overloaded" }), json({ unexpected: true })]);
    const { input_tokens } = await anthropic.messages.countTokens({
      model: "claude-haiku-4-5",
      messages: [{ role: "user", content: text }],
    });
    // OpenAI's rule: 3 for the message, 3 that prime the reply, 1 for its role, and the text.
    expect(input_tokens).toBe(7 + (await countTextTokens(text)));
    expect((await openai.responses.inputTokens.count({ model: "gpt-4o-mini", input: text })).input_tokens).toBe(input_tokens);
    expect(seen.requests).toHaveLength(2);
    const sandbox = await arrange(server.db, { billingMode: "test" });
    expect((await clients(server, sandbox).openai.responses.inputTokens.count({ model: "gpt-4o-mini", input: text })).input_tokens).toBe(
      input_tokens,
    );
  });

  test("refuses what the provider refuses, and who may not ask", async ({ postgresServer: server, upstream }) => {
    const world = await arrange(server.db);
    const text = marker();
    using _ = upstream.on(text, refusal(400, { type: "invalid_request_error", message: "messages: no" }));
    const body = { model: "claude-haiku-4-5", messages: [{ role: "user", content: text }] };
    const path = "/v1/messages/count_tokens";
    expect((await call(server, path, { ...world.as, body })).json).toMatchObject({ type: "error", error: { message: "messages: no" } });
    const file = { type: "image", source: { type: "file", file_id: "file_1" } };
    const shared = await call(server, path, { ...world.as, body: { ...body, messages: [{ role: "user", content: [file] }] } });
    expect([shared.status, shared.json.error.param]).toEqual([400, "messages"]);
    expect((await call(server, path, { key: "sk-quota-none", body })).status).toBe(401);
    const { token } = await makeToken(server.db, world.link, { scope: "openid" });
    expect((await call(server, path, { key: token, body })).status).toBe(403);
  });
});

test("the list of models is what both OpenAI's and Anthropic's clients read", async ({ postgresServer: server }) => {
  const { openai, anthropic } = clients(server, await arrange(server.db));
  const released = Date.parse("2025-10-15T00:00:00Z");
  const listed = (await openai.models.list()).data.find(({ id }) => id === "claude-haiku-4-5");
  expect(listed).toMatchObject({ object: "model", created: released / 1_000, owned_by: "anthropic" });
  const pages = await anthropic.models.list();
  expect([pages.has_more, pages.first_id, pages.last_id]).toEqual([false, pages.data.at(0)?.id, pages.data.at(-1)?.id]);
  expect(pages.data.find(({ id }) => id === "claude-haiku-4-5")).toMatchObject({
    type: "model",
    display_name: "Claude Haiku 4.5",
    created_at: new Date(released).toISOString(),
  });
  expect(await anthropic.models.retrieve("claude-haiku-4-5")).toMatchObject({ display_name: "Claude Haiku 4.5" });
});

test("an error under /v1/messages is one that Anthropic's clients know, at every path and status", async ({ postgresServer: server }) => {
  const world = await arrange(server.db, { balance: 0n });
  const ask = { model: "claude-haiku-4-5", max_tokens: 100, messages: [{ role: "user", content: "Hi" }] };
  const answers = [
    await call(server, "/v1/messages", { ...world.as, body: ask }),
    await call(server, "/v1/messages", { key: "sk-quota-none", body: ask }),
    await call(server, "/v1/messages", { ...world.as, body: { ...ask, model: "none" } }),
    await call(server, "/v1/messages", { ...world.as, method: "PUT", body: ask }),
    await call(server, "/v1/messages/batches", { ...world.as, body: ask }),
  ];
  expect(answers.map(({ status }) => status)).toEqual([402, 401, 404, 405, 404]);
  for (const { json, headers } of answers) {
    expect(json).toMatchObject({ type: "error", request_id: headers.get("x-request-id"), error: { type: expect.any(String) } });
  }
  const { anthropic } = clients(server, world);
  const error = await anthropic.messages.create({ ...ask, messages: [{ role: "user", content: "Hi" }] }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ status: 402, requestID: expect.stringMatching(/^req_/) });
  // OpenAI's own envelope has nothing beside `error`.
  const chat = await call(server, "/v1/chat/completions", { ...world.as, body: { model: "none", messages: [] } });
  expect(Object.keys(chat.json)).toEqual(["error"]);
});
