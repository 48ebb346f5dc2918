import { describe, expect, test } from "vitest";
import { refusalOf } from "#testing/dialects.ts";
import { countTextTokens } from "../../pricing/tokens.ts";
import type { Upstream } from "../providers.ts";
import { responses } from "./responses.ts";

const read = (rest: object = {}) => responses.read(JSON.stringify({ model: "gpt-4o-mini", input: "hi", ...rest }), () => null);
const items = (...input: object[]) => ({ input });
const _said = (...content: object[]) => items({ role: "user", content });

describe("reading a response", () => {
  test.each([
    ["input", ""],
    ["max_output_tokens", 0],
    // Is stored in the operator's account.
    ["previous_response_id", "resp_1"],
    ["conversation", "conv_1"],
    ["conversation", { id: "conv_1" }],
    ["prompt", { id: "pmpt_1" }],
    ["store", true],
    ["background", true],
    ["prompt_cache_options", { comparison_response_id: "resp_1" }],
    ["input", [{ type: "item_reference", id: "msg_1" }]],
    ["input", [{ id: "msg_1" }]],
    ["input", [{ type: null, id: "msg_1" }]],
    ["input", [{ type: "message", id: "msg_1", role: "assistant" }]],
    ["input", [{ type: "reasoning", id: "rs_1", summary: [] }]],
    ["input", [{ role: "user", content: [{ type: "input_image", file_id: "file_1" }] }]],
    ["input", [{ role: "user", content: [{ type: "input_file", file_id: "file_1" }] }]],
    ["input", [{ type: "function_call_output", call_id: "c", output: [{ type: "input_file", file_id: "file_1" }] }]],
    // Has a price of its own.
    ["service_tier", "fast"],
    ["reasoning", { mode: "pro" }],
    ["context_management", [{ type: "compaction" }]],
    ["moderation", { model: "omni-moderation-latest" }],
    ["prompt_cache_options", { ttl: "12h" }],
    ["input", [{ role: "user", content: [{ type: "input_text", text: "x", prompt_cache_breakpoint: { mode: "explicit", ttl: "12h" } }] }]],
    ["input", [{ role: "user", content: [{ type: "input_audio", input_audio: {} }] }]],
    ["input", [{ type: "additional_tools", tools: [{ type: "web_search" }] }]],
    ["input", [{ type: "compaction_trigger" }]],
    ["input", [{ type: "tool_search_output", execution: "client", tools: [{ type: "mcp" }] }]],
    ["input", [{ type: "tool_search_output", tools: [] }]],
    ["input", [{ type: "tool_search_call", execution: "server", arguments: {} }]],
    ["input", [{ type: "computer_call_output", call_id: "c", output: { type: "computer_screenshot", file_id: "file_1" } }]],
    ["tools", [{ type: "namespace", name: "n", tools: [{ type: "function", name: "a" }, { type: "web_search" }] }]],
    ["tools", [{ type: "shell", environment: { type: "container_auto" } }]],
    ["tools", [{ type: "tool_search" }]],
    ["tools", "all"],
    ["tools", [null]],
    ...["web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp", "shell"].map(
      (type) => ["tools", [{ type }]] as [string, unknown],
    ),
  ])("%s: %j is refused, and the refusal names it", (field, value) => {
    const { code, param } = refusalOf(() => read({ [field]: value }));
    expect([code, param]).toEqual(["bad_request", field]);
  });

  test.each([
    { store: false, background: false, previous_response_id: null, conversation: null, prompt: null },
    { service_tier: "flex" },
    {
      tools: [
        { type: "function", name: "a", parameters: {}, strict: true },
        { type: "custom", name: "b" },
      ],
    },
    {
      tools: [
        {
          type: "namespace",
          name: "agents",
          description: "d",
          tools: [
            { type: "function", name: "a" },
            { type: "custom", name: "b" },
          ],
        },
        { type: "tool_search", execution: "client" },
        { type: "local_shell" },
        { type: "shell", environment: { type: "local" } },
        { type: "apply_patch" },
        { type: "computer" },
      ],
    },
    items(
      { type: "additional_tools", role: "developer", tools: [{ type: "namespace", name: "n", tools: [{ type: "function", name: "a" }] }] },
      { type: "tool_search_call", execution: "client", call_id: "c", arguments: {} },
      { type: "tool_search_output", execution: "client", call_id: "c", tools: [{ type: "function", name: "b" }] },
      { type: "shell_call_output", call_id: "d", output: [{ stdout: "x" }] },
      { type: "apply_patch_call", call_id: "e", operation: {} },
      { type: "computer_call_output", call_id: "f", output: { type: "computer_screenshot", image_url: "data:image/png;base64,AAAA" } },
    ),
    { prompt_cache_options: { mode: "explicit", ttl: "30m" }, prompt_cache_key: "k" },
    items(
      { type: "message", role: "developer", content: "be brief" },
      { role: "user", content: [{ type: "input_text", text: "hi" }] },
      { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "gAAAA" },
      { type: "function_call", call_id: "c", name: "a", arguments: "{}" },
      { type: "function_call_output", call_id: "c", output: "done" },
      { type: "custom_tool_call", call_id: "d", name: "b", input: "x" },
      { type: "custom_tool_call_output", call_id: "d", output: "done" },
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        status: "completed",
        content: [{ type: "output_text", text: "ok", annotations: [] }],
      },
    ),
  ])("a request that costs only tokens and refers to nothing stored is accepted: %j", (rest) => {
    expect(read(rest).model.id).toBe("gpt-4o-mini");
  });

  test("the refusal of a tool names its place and type, also in a namespace", () => {
    const own = { type: "function", name: "a" };
    const { message } = refusalOf(() => read({ tools: [own, { type: "namespace", name: "n", tools: [own, { type: "web_search" }] }] }));
    expect(message).toContain('`tools[1].tools[1]` ("web_search")');
  });

  test("the refusal of a reference to stored data says `store: false`", () => {
    for (const item of [
      { type: "item_reference", id: "msg_1" },
      { type: "reasoning", id: "rs_1", summary: [] },
    ])
      expect(refusalOf(() => read(items(item))).message).toContain("`store: false`");
  });

  test("without store, the request asks a model that reasons for encrypted reasoning, so that its items can be sent back", () => {
    const included = (rest: object, provider = "openai") => responses.changes(read(rest), { provider } as Upstream, null).include;
    const encrypted = '["reasoning.encrypted_content"]';
    expect(included({ model: "gpt-5-mini" })).toBe(encrypted);
    expect(included({ model: "gpt-5-mini", store: null, include: null })).toBe(encrypted);
    expect(included({ model: "grok-4.7" }, "xai")).toBe(encrypted);
    expect(included({ model: "gpt-5-mini", include: ["message.output_text.logprobs"] })).toBe(
      '["message.output_text.logprobs","reasoning.encrypted_content"]',
    );
    // In order: the request asks already, the model does not reason, the client set store, the provider does not know the value.
    expect(included({ model: "gpt-5-mini", include: ["reasoning.encrypted_content"] })).toBeUndefined();
    expect(included({ model: "gpt-4o-mini" })).toBeUndefined();
    expect(included({ model: "gpt-5-mini", store: false })).toBeUndefined();
    expect(included({ model: "groq/openai/gpt-oss-20b" }, "groq")).toBeUndefined();
  });

  test("a name that resembles a member with a price is refused", () => {
    for (const name of ["maxOutputTokens", "Store", "previousResponseId"]) expect(refusalOf(() => read({ [name]: 1 })).param).toBe(name);
  });

  test("the refusal of a model whose provider lacks this API names the endpoints that have it", () => {
    const { code, param, message } = refusalOf(() => read({ model: "claude-haiku-4-5" }));
    expect([code, param]).toEqual(["bad_request", "model"]);
    expect(message).toContain("/v1/chat/completions or /v1/messages");
    for (const model of ["grok-4.7", "groq/openai/gpt-oss-20b", "openrouter/moonshotai/kimi-k3"])
      expect(read({ model }).model.id).toBe(model);
  });

  test("an absent store is sent as false, and the output limit is the app's or the lowered one", () => {
    const changes = (rest: object, limit: number | null) => responses.changes(read(rest), {} as Upstream, limit);
    expect(changes({}, null)).toEqual({ store: "false" });
    expect(changes({ store: null }, null)).toEqual({ store: "false" });
    expect(changes({ store: false, max_output_tokens: 50 }, null)).toEqual({});
    expect(changes({ store: false, max_output_tokens: 50 }, 20)).toEqual({ max_output_tokens: "20" });
    expect(read({ max_output_tokens: 1_000_000 }).askedOutput).toBe(16_384);
    expect(read().askedOutput).toBeNull();
  });
});

describe("the prompt of a response", () => {
  test("is counted with the results of tools", async () => {
    expect(await responses.countPrompt(read(), "app")).toBeLessThan(20);
    const result = { type: "function_call_output", call_id: "c", output: "word ".repeat(500) };
    expect(await responses.countPrompt(read(items(result)), "app")).toBeGreaterThan(500);
  });
});

test("the tokens of an answer are those of its texts, refusals, reasoning and calls", async () => {
  const output = [
    { type: "reasoning", summary: [{ type: "summary_text", text: "hello" }] },
    {
      type: "message",
      content: [
        { type: "output_text", text: "hello world" },
        { type: "refusal", refusal: "hello" },
      ],
    },
    { type: "function_call", name: "hello", arguments: "{}" },
    { type: "custom_tool_call", name: "hello", input: "hello" },
  ];
  expect(await responses.countAnswer({ output }, "app")).toBe(1 + 2 + 1 + 1 + (await countTextTokens("{}")) + 2);
});
