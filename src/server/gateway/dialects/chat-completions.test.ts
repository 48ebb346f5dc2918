import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError } from "../../platform/errors.ts";
import { countPromptTokens, countTextTokens } from "../../pricing/tokens.ts";
import { growsWhileItRuns } from "../share.ts";
import { chatCompletions } from "./chat-completions.ts";
import { embeddings } from "./embeddings.ts";
import { couldNotCount } from "./read.ts";

const noHeaders = () => null;
const readChatRequest = (text: string) => chatCompletions.read(text, noHeaders);
const readEmbeddingsRequest = (text: string) => embeddings.read(text, noHeaders);

const messages = [{ role: "user", content: "hi" }];
const chat = (rest: object = {}) => readChatRequest(JSON.stringify({ model: "gpt-4o-mini", messages, ...rest }));

function refusalOf(read: () => unknown): AppError {
  try {
    read();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("reading a chat request", () => {
  test.each([
    ["not JSON", "{", null],
    ["an empty body", "", null],
    ["a list", "[]", null],
    ["null", "null", null],
    ["a text", '"x"', null],
    ["no model", '{"messages":[{"role":"user","content":"hi"}]}', "model"],
    ["a number for a model", '{"model":4,"messages":[{"role":"user","content":"hi"}]}', "model"],
    ["a model twice", '{"model":"gpt-4o-mini","model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}', "model"],
    [
      "a limit twice, one of them spelled with an escape",
      '{"model":"gpt-4o-mini","messages":[{"role":"user"}],"max_tokens":1,"max\\u005ftokens":100}',
      "max_tokens",
    ],
    ["nesting without end", `{"model":"gpt-4o-mini","messages":${"[".repeat(100_000)}`, null],
    ["nesting in an unknown field", `{"model":"gpt-4o-mini","x":${"[".repeat(300)}${"]".repeat(300)}}`, null],
    ["members without end", `{"metadata":{${Array.from({ length: 60_000 }, (_, at) => `"k${at}":1`).join(",")}}}`, null],
    ["fields without end", `{${Array.from({ length: 1_001 }, (_, at) => `"k${at}":1`).join(",")}}`, null],
    ["a field with a name that grows when it is normalised", `{"${"\ufdfa".repeat(300)}":1}`, null],
    ["no messages", '{"model":"gpt-4o-mini"}', "messages"],
    ["an embedding model", '{"model":"text-embedding-3-small","messages":[{"role":"user","content":"hi"}]}', "model"],
  ])("%s is refused and named", (_name, text, param) => {
    const { code, param: named } = refusalOf(() => readChatRequest(text));
    expect([code, named]).toEqual(["bad_request", param]);
  });

  test.each([
    ["messages", "hi", "messages"],
    ["messages", [], "messages"],
    ["messages", ["hi"], "messages[0]"],
    ["messages", [null], "messages[0]"],
    ["messages", [...messages, { content: "hi" }], "messages[1].role"],
    ["messages", [{ role: 5 }], "messages[0].role"],
    ["stream", "true", "stream"],
    ["stream", 1, "stream"],
    ["stream_options", [], "stream_options"],
    ["stream_options", "usage", "stream_options"],
    ["n", 0, "n"],
    ["n", 129, "n"],
    ["n", 1.5, "n"],
    ["n", "1", "n"],
    ["max_tokens", 0, "max_tokens"],
    ["max_tokens", -1, "max_tokens"],
    ["max_tokens", 1.5, "max_tokens"],
    ["max_tokens", "10", "max_tokens"],
    ["max_tokens", 1e300, "max_tokens"],
    ["max_completion_tokens", 0, "max_completion_tokens"],
    ["max_completion_tokens", {}, "max_completion_tokens"],
    ["service_tier", "priority", "service_tier"],
    ["web_search_options", {}, "web_search_options"],
    ["modalities", ["text", "audio"], "modalities"],
    ["audio", { voice: "alloy" }, "audio"],
    ["prompt_cache_options", { ttl: "12h" }, "prompt_cache_options"],
    [
      "messages",
      [{ role: "user", content: [{ type: "text", text: "x", prompt_cache_breakpoint: { mode: "explicit", ttl: "12h" } }] }],
      "messages",
    ],
  ])("%s: %j is refused as %s", (field, value, param) => {
    const { code, param: named } = refusalOf(() => chat({ [field]: value }));
    expect([code, named]).toEqual(["bad_request", param]);
  });

  test("null is as good as absent, as in OpenAI's API", () => {
    const request = chat({ stream: null, n: null, max_tokens: null, max_completion_tokens: null, stream_options: null, audio: null });
    expect(request).toMatchObject({ stream: false, choices: 1, askedOutput: null, outputLimitFields: [] });
  });

  test("of two limits the lower one counts, and both are named for lowering", () => {
    expect(chat({ max_tokens: 100, max_completion_tokens: 50 })).toMatchObject({
      askedOutput: 50,
      outputLimitFields: ["max_tokens", "max_completion_tokens"],
    });
    expect(chat({ max_tokens: 1_000_000 })).toMatchObject({ askedOutput: 16_384 });
  });

  test.each([
    [{ thinking: { type: "enabled", budget_tokens: 4_000 } }, true, 4_016],
    [{ thinking: { type: "adaptive" } }, true, 16],
    [{ thinking: { type: "disabled" } }, false, 16],
    [{ reasoning_effort: "high" }, true, 16],
    [{ reasoning_effort: "none" }, false, 16],
    [{ reasoning: { effort: "high", exclude: true } }, true, 16],
    [{ reasoning: { enabled: true, max_tokens: 2_000 } }, true, 2_016],
    [{ reasoning: { enabled: false } }, false, 16],
    [{ thinking: true, reasoning: "x" }, true, 16],
    [{ thinking: null, reasoning: null, reasoning_effort: null }, false, 16],
  ])("%j: whether only the provider can count what is thought, and how much has to fit", (fields, onlyProviderCounts, leastOutput) => {
    const request = chat({ model: "claude-sonnet-4-6", stream: true, ...fields });
    expect(request).toMatchObject({ onlyProviderCounts, leastOutput });
    expect(growsWhileItRuns(request)).toBe(!onlyProviderCounts);
  });

  test.each([
    [{ Thinking: { type: "enabled" } }, "Thinking"],
    [{ reasoningEffort: "high" }, "reasoningEffort"],
  ])("%j is refused, because it could be thinking that nobody holds for", (fields, param) => {
    const { code, param: named } = refusalOf(() => chat(fields));
    expect([code, named]).toEqual(["bad_request", param]);
  });

  test("an unknown model is a 404 that names the field and not more than 100 characters of the model", () => {
    const refusal = refusalOf(() => chat({ model: "x".repeat(5_000) }));
    expect([refusal.code, refusal.status, refusal.param]).toEqual(["model_not_found", 404, "model"]);
    expect(refusal.message.length).toBeLessThan(200);
    for (const model of ["__proto__", "constructor", "toString"]) expect(refusalOf(() => chat({ model })).code).toBe("model_not_found");
  });

  test("whatever the body is, it is understood or refused, and never thrown at", () => {
    const any = fc.oneof(
      fc.jsonValue(),
      fc.dictionary(
        fc.constantFrom("model", "messages", "stream", "n", "max_tokens", "tools", "stream_options", "modalities", "prediction"),
        fc.jsonValue(),
      ),
    );
    fc.assert(
      fc.property(any, (value) => {
        for (const body of [value, { model: "gpt-4o-mini", messages, ...(typeof value === "object" ? value : {}) }]) {
          try {
            readChatRequest(JSON.stringify(body));
          } catch (error) {
            expect(error).toBeInstanceOf(AppError);
          }
        }
      }),
    );
  });
});

describe("the prompt bound", () => {
  const anyMessages = fc.array(
    fc.record({
      role: fc.constantFrom("system", "user", "assistant"),
      content: fc.oneof(
        fc.string({ unit: "binary" }),
        fc.constant("🦊é日本語 ".repeat(20)),
        fc.array(fc.record({ type: fc.constant("text"), text: fc.string() })),
      ),
    }),
    { minLength: 1, maxLength: 5 },
  );

  test("is never below what the tokenizer counts, and the closer one lies between", async () => {
    await fc.assert(
      fc.asyncProperty(anyMessages, async (some) => {
        const request = readChatRequest(JSON.stringify({ model: "gpt-4o-mini", messages: some }));
        const counted = await countPromptTokens({ messages: some });
        const closer = await chatCompletions.closerPromptBound(request, "app");
        expect(request.promptBound).toBeGreaterThanOrEqual(counted);
        expect(closer).toBeGreaterThanOrEqual(Math.min(counted, request.promptBound));
        expect(closer).toBeLessThanOrEqual(request.promptBound);
      }),
      { numRuns: 100 },
    );
  });

  test.each(["chat completions", "embeddings"] as const)(
    "in %s a closer one is not looked for in more than half a mebibyte, and is given up when the tokenizer is taken up",
    async (api) => {
      const dialect = api === "embeddings" ? embeddings : chatCompletions;
      const read = (text: string) =>
        api === "embeddings"
          ? readEmbeddingsRequest(JSON.stringify({ model: "text-embedding-3-small", input: text }))
          : chat({ messages: [{ role: "user", content: text }] });
      const [long, short, again] = [read("aA".repeat(300_000)), read("aA".repeat(30_000)), read("aA".repeat(30_000))];
      expect(await dialect.closerPromptBound(long, api)).toBe(long.promptBound);
      expect(couldNotCount(long)).toBe(false);
      const taken = countTextTokens("aA".repeat(8 * 1024 * 1024), { lane: api, purpose: "ask" });
      expect(await dialect.closerPromptBound(short, api)).toBe(short.promptBound);
      expect(couldNotCount(short)).toBe(true);
      await taken;
      expect(await dialect.closerPromptBound(again, api)).toBeLessThan(again.promptBound);
      expect(couldNotCount(again)).toBe(false);
    },
    20_000,
  );

  test("a prompt is counted once for each purpose", () => {
    const request = chat({ messages: [{ role: "user", content: "漢字".repeat(1_000) }] });
    expect(chatCompletions.countPrompt(request, "app")).toBe(chatCompletions.countPrompt(request, "app"));
    expect(chatCompletions.closerPromptBound(request, "app")).toBe(chatCompletions.closerPromptBound(request, "app"));
  });

  test("counts an image by its own bound, not by its data", () => {
    const image = { type: "image_url", image_url: { url: `data:image/png;base64,${"A".repeat(200_000)}` } };
    const request = chat({ messages: [{ role: "user", content: [{ type: "text", text: "what is it?" }, image] }] });
    expect(request.promptBound).toBeGreaterThan(2_833 + 8 * 5_667);
    expect(request.promptBound).toBeLessThan(2_833 + 8 * 5_667 + 1_000);
  });

  test("counts text that looks like the data of an image as text, also beside that image", async () => {
    const data = `data:image/png;base64,${randomBytes(6_000).toString("base64")}`;
    const image = { type: "image_url", image_url: { url: data } };
    const tokens = await countTextTokens(data);
    const looksLikeIt = chat({ messages: [{ role: "user", content: data }] });
    expect(await chatCompletions.closerPromptBound(looksLikeIt, "app")).toBeGreaterThan(tokens);
    const both = (content: object[]) => chat({ messages: [{ role: "user", content }] });
    const [alone, beside] = await Promise.all(
      [[image], [{ type: "text", text: data }, image]].map(async (content) => {
        const request = both(content);
        return [await chatCompletions.closerPromptBound(request, "app"), await chatCompletions.countPrompt(request, "app")];
      }),
    );
    expect(alone?.[1]).toBeLessThan(200);
    expect(beside?.[0]).toBeGreaterThan((alone?.[0] as number) + tokens);
    expect(beside?.[1]).toBeGreaterThan((alone?.[1] as number) + tokens - 10);
  });

  test("of a file is the model's whole context, for nobody here can look into it", () => {
    const request = chat({ messages: [{ role: "user", content: [{ type: "file", file: { file_id: "file-1" } }] }] });
    expect(request.promptBound).toBe(request.model.contextLength);
  });
});

describe("reading an embeddings request", () => {
  test("takes text, texts and tokens, and refuses the rest by name", () => {
    for (const input of ["a", ["a", "b"], [1, 2], [[1], [2]]])
      expect(readEmbeddingsRequest(JSON.stringify({ model: "text-embedding-3-small", input })).askedOutput).toBe(0);
    for (const input of [undefined, null, ""])
      expect(refusalOf(() => readEmbeddingsRequest(JSON.stringify({ model: "text-embedding-3-small", input }))).param).toBe("input");
    expect(refusalOf(() => readEmbeddingsRequest('{"model":"gpt-4o-mini","input":"a"}')).param).toBe("model");
  });

  test.each([5, true, {}, [], [null], [{}], [["a"]]])("input %j is refused", (input) => {
    expect(refusalOf(() => readEmbeddingsRequest(JSON.stringify({ model: "text-embedding-3-small", input }))).param).toBe("input");
  });
});
