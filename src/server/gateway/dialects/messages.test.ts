import { describe, expect, test } from "vitest";
import { refusalOf } from "#testing/dialects.ts";
import { countTextTokens } from "../../pricing/tokens.ts";
import { messages } from "./messages.ts";

const said = [{ role: "user", content: "hi" }];
const noHeaders = () => null;
const body = (rest: object = {}) => JSON.stringify({ model: "claude-haiku-4-5", max_tokens: 100, messages: said, ...rest });
const read = (rest: object = {}, headers: Record<string, string> = {}) => messages.read(body(rest), (name) => headers[name] ?? null);
const user = (...content: object[]) => ({ messages: [{ role: "user", content }] });

describe("reading a message", () => {
  test.each([
    ["max_tokens", undefined],
    ["thinking", "much"],
    // Has a price of its own.
    ["speed", "fast"],
    ["inference_geo", "us"],
    ["container", "container_1"],
    ["mcp_servers", [{ type: "url", url: "https://example.com" }]],
    ["context_management", { edits: [{ type: "compact_20260112" }] }],
    ["context_management", { edits: [{ type: "clear_tool_uses_20250919" }, { type: "sum_up" }] }],
    ["context_management", { edits: "all" }],
    ["context_management", "clear"],
    ["compaction", { type: "summarize" }],
    ["fallback_credit_token", "token"],
    ["billing_policy", { type: "billing_policy", bill_to: "user_profile" }],
    ["fallbacks", ["claude-sonnet-5"]],
    ["tools", [{ type: "web_search_20250305", name: "web_search" }]],
    ["tools", [{ type: "web_fetch_20250910", name: "web_fetch" }]],
    ["tools", [{ type: "code_execution_20250825", name: "code_execution" }]],
    ["tools", [{ type: "tool_search_tool_bm25_20251119", name: "search" }]],
    ["tools", [{ type: "advisor_20260301", name: "advisor" }]],
    ["tools", [{ type: "mcp_toolset", mcp_server_name: "m" }]],
    ["messages", [{ role: "system", content: [{ type: "tool_addition", tool: { type: "mcp_toolset_reference", server: "m" } }] }]],
    [
      "messages",
      [
        {
          role: "system",
          content: [{ type: "tool_addition", tool: { type: "tool_definition", definition: { type: "web_search_20250305", name: "w" } } }],
        },
      ],
    ],
    ["tools", [{ name: "own", input_schema: {} }, null]],
    // Is stored in the operator's account.
    ["thread", { type: "create" }],
    ["previous_message_id", "msg_1"],
    ["diagnostics", { previous_message_id: "msg_1" }],
  ])("%s: %j is refused, and the refusal names it", (field, value) => {
    const { code, param } = refusalOf(() => read({ [field]: value }));
    expect([code, param]).toEqual(["bad_request", field]);
  });

  test.each([
    { type: "image", source: { type: "file", file_id: "file_1" } },
    { type: "document", source: { type: "file", file_id: "file_1" } },
    { type: "tool_result", tool_use_id: "t", content: [{ type: "image", source: { type: "file", file_id: "file_1" } }] },
    { type: "container_upload", file_id: "file_1" },
  ])("a file in the operator's account is refused: %j", (block) => {
    expect(refusalOf(() => read(user(block))).param).toBe("messages");
  });

  test.each([
    { service_tier: "auto" },
    { service_tier: "standard_only" },
    { speed: "standard", inference_geo: "global", container: null, tools: null },
    {
      tools: [
        { name: "own", input_schema: { type: "object" } },
        { type: "custom", name: "b", input_schema: {} },
      ],
    },
    {
      tools: [
        { type: "bash_20250124", name: "bash" },
        { type: "text_editor_20250728", name: "str_replace_based_edit_tool" },
        { type: "computer_20251124", name: "computer", display_width_px: 1, display_height_px: 1 },
        { type: "browser_toolset_20260801" },
      ],
    },
    { context_management: { edits: [] }, diagnostics: { previous_message_id: null }, thread: null },
    { context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }, { type: "clear_tool_uses_20250919" }] } },
    { billing_policy: { type: "billing_policy", bill_to: "self" } },
    { output_config: { effort: "medium", task_budget: { type: "tokens", total: 100_000 } } },
    { tools: [{ name: "own", input_schema: { type: "object" }, defer_loading: true, allowed_callers: ["direct"] }] },
    user({ type: "tool_result", tool_use_id: "t", content: [{ type: "tool_reference", tool_name: "own" }] }),
    user({ type: "tool_removal", tool: { type: "tool_reference", name: "own" } }),
    user({ type: "tool_addition", tool: { type: "tool_definition", definition: { name: "b", input_schema: {} } } }),
  ])("a request that costs only tokens is accepted: %j", (rest) => {
    expect(read(rest).askedOutput).toBe(100);
  });

  test("the output limit is the request's, at most the model's, and can't be lowered below the thinking budget", () => {
    expect(read({ max_tokens: 1_000_000 })).toMatchObject({ askedOutput: 64_000, outputLimitFields: ["max_tokens"], leastOutput: 16 });
    expect(read({ max_tokens: 8_000, thinking: { type: "enabled", budget_tokens: 4_000 } })).toMatchObject({ leastOutput: 4_016 });
    expect(read({ max_tokens: 0 }).askedOutput).toBe(0);
  });

  test("only the provider counts thinking and images", () => {
    const image = { type: "image", source: { type: "url", url: "https://example.com/a.png" } };
    expect(read().onlyProviderCounts).toBe(false);
    expect(read({ thinking: { type: "disabled" } }).onlyProviderCounts).toBe(false);
    expect(read({ thinking: { type: "adaptive" } }).onlyProviderCounts).toBe(true);
    expect(read({ model: "claude-sonnet-5" }).onlyProviderCounts).toBe(true);
    expect(read(user(image)).onlyProviderCounts).toBe(true);
  });

  test("the refusal of a model whose provider lacks this API names an endpoint that has it", () => {
    const { code, param, message } = refusalOf(() => read({ model: "gpt-4o-mini" }));
    expect([code, param]).toEqual(["bad_request", "model"]);
    expect(message).toContain("/v1/chat/completions");
    expect(refusalOf(() => read({ model: "claude-none" })).code).toBe("model_not_found");
  });

  test("the refusal of a tool names its place and type", () => {
    const { message } = refusalOf(() =>
      read({
        tools: [
          { name: "own", input_schema: {} },
          { type: "web_search_20260318", name: "w" },
        ],
      }),
    );
    expect(message).toContain('tools[1] ("web_search_20260318")');
  });

  test("a thread is refused with the error_code upon which Anthropic's clients continue without it", () => {
    const { param, status, members } = refusalOf(() => read({ thread: { type: "create" } }));
    expect([param, status, members]).toEqual([
      "thread",
      400,
      { details: { error_code: "thread_unsupported_request", unsupported: ["thread"] } },
    ]);
  });

  test("betas of any name are passed on, except those that raise a limit above what is held", () => {
    const sent = (model: string, beta: string, rest: object = {}) =>
      read({ model, ...rest }, { "anthropic-beta": beta }).headers["anthropic-beta"];
    const claudeCode =
      "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,per-turn-control-2026-07-01,effort-2025-11-24";
    for (const beta of [claudeCode, "message-threads-2026-08-12", "fast-mode-2026-02-01", "not-known-yet-2027-01-01"])
      expect(sent("claude-haiku-4-5", beta)).toBe(beta);
    expect(sent("claude-sonnet-5", "context-1m-2025-08-07")).toBe("context-1m-2025-08-07");
    expect(refusalOf(() => sent("claude-haiku-4-5", "context-1m-2025-08-07")).param).toBe("anthropic-beta");
    expect(sent("claude-sonnet-5", "output-300k-2026-03-24", { max_tokens: 128_000 })).toBe("output-300k-2026-03-24");
    expect(refusalOf(() => sent("claude-sonnet-5", "output-300k-2026-03-24", { max_tokens: 128_001 })).param).toBe("max_tokens");
    expect(refusalOf(() => sent("claude-sonnet-5", "a\u0000b")).param).toBe("anthropic-beta");
  });

  test("the hold covers what the provider adds to the prompt: its descriptions of client tools, and a definition for each reference", () => {
    const own = { name: "own", description: "x".repeat(5_000), input_schema: {} };
    const reference = { type: "tool_reference", tool_name: "own" };
    const results = (...content: object[]) => ({ tools: [own], ...user({ type: "tool_result", tool_use_id: "t", content }) });
    const bound = (rest: object) => read(rest).instructions;
    expect(bound(results(reference, reference)) - bound(results())).toBeGreaterThan(2 * 5_000);
    expect(bound({ tools: [{ type: "browser_toolset_20260801" }] })).toBeGreaterThan(bound({ tools: [own] }) + 9_000);
    const added = { type: "tool_addition", tool: { type: "tool_definition", definition: { type: "bash_20250124", name: "bash" } } };
    expect(bound(user(added))).toBeGreaterThan(bound({}) + 2_000);
  });

  test("headers that change no price are passed on, and an unknown version is refused", () => {
    expect(read().headers).toEqual({ "anthropic-version": "2023-06-01" });
    expect(
      read({}, { "anthropic-version": "2026-10-21", "anthropic-beta": "interleaved-thinking-2025-05-14, structured-outputs-2025-11-13" })
        .headers,
    ).toEqual({
      "anthropic-version": "2026-10-21",
      "anthropic-beta": "interleaved-thinking-2025-05-14,structured-outputs-2025-11-13",
    });
    expect(refusalOf(() => read({}, { "anthropic-version": "2023-01-01" })).param).toBe("anthropic-version");
  });
});

describe("the prompt of a message", () => {
  test("is bounded only by the context when it has a document or an unknown block", () => {
    const pdf = { type: "document", source: { type: "base64", media_type: "application/pdf", data: "AAAA" } };
    for (const block of [
      pdf,
      { type: "document", source: { type: "url", url: "https://example.com/a.pdf" } },
      { type: "web_search_tool_result" },
    ])
      expect(read(user(block)).promptBound).toBe(200_000);
    const plain = { type: "document", source: { type: "text", media_type: "text/plain", data: "hello" } };
    expect(read(user(plain)).promptBound).toBeLessThan(500);
  });

  test("is held at the price of the cache writes that it asks for", () => {
    const cached = (ttl?: string) => ({ cache_control: { type: "ephemeral", ...(ttl === undefined ? {} : { ttl }) } });
    expect(read().cacheWrites).toBe("none");
    expect(read(cached()).cacheWrites).toBe("short");
    expect(read({ system: [{ type: "text", text: "x", ...cached("5m") }] }).cacheWrites).toBe("short");
    expect(read({ tools: [{ name: "a", input_schema: {}, ...cached("1h") }] }).cacheWrites).toBe("long");
    const nested = { type: "tool_result", tool_use_id: "t", content: [{ type: "text", text: "x", ...cached("1h") }] };
    expect(read(user({ type: "text", text: "x", ...cached() }, nested)).cacheWrites).toBe("long");
  });

  test("is counted by its text when the provider reports no usage", async () => {
    expect(await messages.countPrompt(read(), "app")).toBeLessThan(20);
    const tool = { type: "tool_result", tool_use_id: "t", content: "word ".repeat(500) };
    expect(await messages.countPrompt(messages.read(body(user(tool)), noHeaders), "app")).toBeGreaterThan(500);
  });
});

test("the tokens of an answer are those of its texts, and of its calls' names and inputs", async () => {
  const content = [
    { type: "thinking", thinking: "hello", signature: "abc" },
    { type: "text", text: "hello world" },
    { type: "tool_use", id: "t", name: "hello", input: "hello" },
  ];
  expect(await messages.countAnswer({ content }, "app")).toBe(1 + 2 + 1 + (await countTextTokens('"hello"')));
});
