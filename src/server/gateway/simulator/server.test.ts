import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { countTextTokens } from "../../pricing/tokens.ts";
import { withSimulator } from "./simulated.ts";

const { ask, askStream, openai, post, simulator } = withSimulator();

describe("errors", () => {
  const user = { role: "user", content: "hi" };

  test.each<[string, unknown, string | null]>([
    ["a body that is no JSON", "{", null],
    ["no messages", { model: "m" }, "messages"],
    ["no messages in the list", { model: "m", messages: [] }, "messages"],
    ["messages that are no list", { model: "m", messages: "hi" }, "messages"],
    ["an unknown role", { model: "m", messages: [{ role: "bot", content: "hi" }] }, "messages[0].role"],
    ["no content", { model: "m", messages: [{ role: "user" }] }, "messages[0].content"],
    ["no model", { messages: [user] }, "model"],
    ["a limit of 0", { model: "m", messages: [user], max_tokens: 0 }, "max_tokens"],
    ["stream_options without a stream", { model: "m", messages: [user], stream_options: {} }, "stream_options"],
    [
      "a tool message that answers no call",
      { model: "m", messages: [user, { role: "tool", tool_call_id: "x", content: "" }] },
      "messages[1].role",
    ],
  ])("%s is a 400 that names the parameter", async (_, body, param) => {
    const response = await post("/chat/completions", body);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      error: {
        message: expect.any(String),
        type: "invalid_request_error",
        param,
        code: body === "{" ? null : expect.toBeOneOf([expect.any(String), null]),
      },
    });
  });

  test("an unknown path is a 404, a wrong method a 405", async () => {
    expect((await post("/nothing", {})).status).toBe(404);
    expect(await (await post("/nothing", {})).json()).toMatchObject({
      error: { message: "Invalid URL (POST /v1/nothing)" },
    });
    expect((await fetch(`${simulator().url}/chat/completions`)).status).toBe(405);
  });

  test("a body beyond 32 MB is a 413", async () => {
    expect((await post("/chat/completions", "x".repeat(33 * 1024 * 1024))).status).toBe(413);
  });
});

describe("test hooks", () => {
  test("error gives that status in OpenAI's envelope, before anything is streamed", async () => {
    await expect(ask("simulate: error 500")).rejects.toMatchObject({ status: 500, type: "server_error" });
    await expect(ask("simulate: error 429")).rejects.toMatchObject({ status: 429, code: "rate_limit_exceeded" });
    await expect(askStream("simulate: error 503 please")).rejects.toMatchObject({ status: 503 });
  });

  test("slow delays the answer by that time", async () => {
    const start = performance.now();
    expect((await ask("simulate: slow 80 what is tea?")).choices[0]?.message.content).toContain("tea");
    expect(performance.now() - start).toBeGreaterThan(75);
  });

  test("long gives exactly that many tokens", async () => {
    const { choices, usage } = await ask("simulate: long 500");
    expect(usage?.completion_tokens).toBe(500);
    expect(await countTextTokens(choices[0]?.message.content ?? "")).toBe(500);
    expect(choices[0]?.finish_reason).toBe("stop");
    expect((await ask("simulate: long 500", { max_tokens: 20 })).choices[0]?.finish_reason).toBe("length");
  });

  test("disconnect closes the connection of a stream after some text", async () => {
    const stream = await openai().chat.completions.create({
      model: "m",
      messages: [{ role: "user", content: "simulate: disconnect" }],
      stream: true,
    });
    let text = "";
    const reading = async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    };
    await expect(reading()).rejects.toThrow();
    expect(text.length).toBeGreaterThan(10);
  });

  test("disconnect leaves a plain request without an answer", async () => {
    await expect(ask("simulate: disconnect")).rejects.toBeInstanceOf(OpenAI.APIConnectionError);
  });
});

test("models are listed", async () => {
  const { data } = await openai().models.list();
  expect(data.map((model) => model.id)).toContain("gpt-4o-mini");
  expect(await openai().models.retrieve("gpt-4o-mini")).toMatchObject({ object: "model" });
});
