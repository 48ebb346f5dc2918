import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embed, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import { choice, chunk, completion, delta, sse, toolCall, usage } from "../../src/testing/upstream-answers.ts";
import { marker } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

// The AI SDK prints warnings to stderr that are not about the server under test.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

function provider(server: Pick<ServerProcess, "url">, as: { key: string; user: string }) {
  return createOpenAICompatible({
    name: "quota",
    baseURL: `${server.url}/v1`,
    apiKey: as.key,
    headers: { "X-Quota-User": as.user },
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
}

test.describe("@ai-sdk/openai-compatible", () => {
  test("generates text", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const answer = await generateText({ model: provider(postgresServer, world.as)("gpt-4o-mini"), prompt: "hi" });
    expect([answer.text, answer.usage.inputTokens, answer.usage.outputTokens]).toEqual(["Hello there.", 10, 5]);
    expect(await world.balance()).toBe(999_995n);
  });

  test("streams text", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const answer = streamText({ model: provider(postgresServer, world.as)("gpt-4o-mini"), prompt: "hi" });
    let said = "";
    for await (const part of answer.textStream) said += part;
    expect(said).toBe("Hello there.");
    expect(await answer.finishReason).toBe("stop");
    expect((await answer.usage).outputTokens).toBe(5);
    expect(await world.balance()).toBe(999_995n);
  });

  test("generates an object", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const text = marker();
    using seen = upstream.on(text, completion({ text: '{"city":"Oslo"}' }));
    const answer = await generateObject({
      model: provider(postgresServer, world.as)("gpt-4o-mini"),
      prompt: text,
      schema: z.object({ city: z.string() }),
    });
    expect(answer.object).toEqual({ city: "Oslo" });
    expect(seen.requests[0]?.body.response_format).toMatchObject({ type: "json_schema" });
  });

  test("calls a tool and answers with its result, as JSON and as a stream", async ({ postgresServer, upstream }) => {
    const world = await arrange(postgresServer.db);
    const model = provider(postgresServer, world.as)("gpt-4o-mini");
    const tools = {
      get_weather: tool({
        description: "The weather",
        inputSchema: z.object({ city: z.string() }),
        execute: async ({ city }) => `rain in ${city}`,
      }),
    };
    const asked = toolCall("get_weather", { city: "Oslo" });

    const text = marker();
    using seen = upstream.on(text, [
      completion({ choices: [choice({ tool_calls: [asked] }, { finishReason: "tool_calls" })] }),
      completion({ text: "It rains." }),
    ]);
    const answer = await generateText({ model, prompt: text, tools, stopWhen: stepCountIs(3) });
    expect(answer.text).toBe("It rains.");
    expect(JSON.stringify(seen.requests[1]?.body.messages)).toContain("rain in Oslo");

    const streamed = marker();
    using _ = upstream.on(streamed, [
      sse([
        chunk([delta({ role: "assistant", tool_calls: [{ index: 0, ...asked }] })]),
        chunk([delta({}, { finishReason: "tool_calls" })]),
        chunk([], { usage: usage(10, 5) }),
      ]),
      sse([chunk([delta({ content: "It rains." })]), chunk([delta({}, { finishReason: "stop" })]), chunk([], { usage: usage(10, 5) })]),
    ]);
    const stream = streamText({ model, prompt: streamed, tools, stopWhen: stepCountIs(3) });
    let said = "";
    for await (const part of stream.textStream) said += part;
    expect(said).toBe("It rains.");
    expect((await world.usage()).map(({ base }) => base)).toEqual([5n, 5n, 5n, 5n]);
  });

  test("embeds", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db);
    const answer = await embed({ model: provider(postgresServer, world.as).embeddingModel("text-embedding-3-small"), value: "one" });
    expect(answer.embedding).toEqual([0.25, -0.5, 0.125]);
  });

  test("raises errors with status and message", async ({ postgresServer }) => {
    const world = await arrange(postgresServer.db, { balance: 0n });
    const error = await generateText({ model: provider(postgresServer, world.as)("gpt-4o-mini"), prompt: "hi", maxRetries: 0 }).then(
      () => null,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(APICallError);
    expect(error).toMatchObject({ statusCode: 402, message: expect.stringContaining("This wallet has $0.00 left") });
  });
});
